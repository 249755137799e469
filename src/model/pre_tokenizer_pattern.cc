#include "model/pre_tokenizer_pattern.h"

#include <cstddef>

#include "base/status_macros.h"

namespace esa {
namespace {

// White_Space, which is Oniguruma's \s. PCRE2's own \s holds U+180E besides.
constexpr std::string_view kSpaces =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kNotSpaces =
    R"(\x00-\x08\x0E-\x1F\x21-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{D7FF}\x{E000}-\x{10FFFF})";

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// Escapes that mean the same to both: digits, properties, control characters.
bool IsSharedEscape(char c) {
  return std::string_view("dDpPrntf").find(c) != std::string_view::npos;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> Run() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\') {
        ESA_RETURN_IF_ERROR(Escape());
      } else if (in_class_) {
        ESA_RETURN_IF_ERROR(InClass());
      } else {
        Outside();
      }
    }
    return std::move(out_);
  }

 private:
  Status Escape() {
    if (at_ + 1 == pattern_.size()) return DataError("a backslash at the end");
    const char c = pattern_[at_ + 1];
    if (c == 's' || c == 'S') {
      const std::string_view set = c == 's' ? kSpaces : kNotSpaces;
      in_class_ ? void(out_.append(set)) : void(out_.append("[").append(set).append("]"));
      at_ += 2;
      return {};
    }
    const bool code_point = pattern_.substr(at_, 3) == "\\x{";
    if (IsAlphanumeric(c) && !IsSharedEscape(c) && !code_point) {
      return DataError(std::string("the escape \\") + c + " (known: \\s \\S \\d \\D \\p \\P \\r " +
                       "\\n \\t \\f \\x{...})");
    }
    Copy(2);
    return {};
  }

  Status InClass() {
    if (pattern_.substr(at_, 2) == "&&") return DataError("a class intersection (&&)");
    const bool first = at_ == class_start_;
    if (pattern_[at_] == '[') return DataError("a class inside a class");
    if (pattern_[at_] == ']' && !first) in_class_ = false;
    Copy(1);
    return {};
  }

  void Outside() {
    if (pattern_[at_] == '[') {
      in_class_ = true;
      Copy(pattern_.substr(at_, 2) == "[^" ? 2 : 1);
      class_start_ = at_;
    } else {
      Copy(1);
    }
  }

  void Copy(std::size_t count) {
    out_.append(pattern_.substr(at_, count));
    at_ += count;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::size_t class_start_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> TranslatePattern(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace esa

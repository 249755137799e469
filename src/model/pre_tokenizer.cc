#include "model/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "model/pre_tokenizer_pattern.h"
#include "model/tokenizer_unicode.h"

namespace esa {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
using CodePtr = std::unique_ptr<pcre2_code, FreeCode>;
using ContextPtr = std::unique_ptr<pcre2_match_context, FreeContext>;
using MatchPtr = std::unique_ptr<pcre2_match_data, FreeMatch>;

constexpr char kStandIn = '\x01';  // for a byte that is not UTF-8
constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();

// A text and what the patterns see of it: the same number of bytes, always UTF-8.
struct Subject {
  std::string_view bytes;
  std::string_view seen;

  Subject Part(std::size_t begin, std::size_t end) const {
    return {bytes.substr(begin, end - begin), seen.substr(begin, end - begin)};
  }
};

// Empty where `text` is UTF-8.
std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string seen;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = ReadUtf8(text.substr(at));
    if (step.kind != Utf8Step::Kind::kValid) {
      if (seen.empty()) seen.assign(text);
      seen.replace(at, step.bytes, step.bytes, kStandIn);
    }
    at += step.bytes;
  }
  return seen;
}

std::string MessageOf(int pcre2_error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(pcre2_error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

Result<CodePtr> CompilePattern(const PreTokenizerStep& step) {
  const auto fail = [&](const std::string& why) {
    return DataError(step.field + ": found \"" + step.pattern + "\" with " + why +
                     ", expected a pattern that can be read as PCRE2");
  };
  const auto pattern = TranslatePattern(step.pattern);
  if (!pattern) return fail(pattern.error().message);
  int error = 0;
  std::size_t offset = 0;
  CodePtr code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern->data()), pattern->size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
  if (!code) return fail("an error (" + MessageOf(error) + ")");
  // Where the machine has no JIT, pcre2_match interprets: slower, the same pieces.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

}  // namespace

struct PreTokenizer::Steps {
  struct Step {
    CodePtr code;  // null: no split
    bool prefix_space = false;
  };
  using Matches = std::vector<MatchPtr>;

  std::vector<Step> steps;
  ContextPtr context;

  void Run(std::size_t step, Subject text, const Matches& matches, const PieceSink& sink) const;
  void Apply(std::size_t step, Subject text, const Matches& matches, const PieceSink& sink) const;
  std::size_t Find(const Step& step, pcre2_match_data* match, std::string_view seen,
                   std::size_t from) const;
};

// The start of the next match that is not empty, kNowhere if none; its end is in `match`.
std::size_t PreTokenizer::Steps::Find(const Step& step, pcre2_match_data* match,
                                      std::string_view seen, std::size_t from) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(seen.data());
  const std::uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
  int rc = pcre2_match(step.code.get(), subject, seen.size(), from, options, match, context.get());
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(step.code.get(), subject, seen.size(), from, options | PCRE2_NO_JIT, match,
                     context.get());
  }
  // An exhausted limit leaves the rest of the text as one piece: encoded otherwise, but not lost.
  return rc < 0 ? kNowhere : pcre2_get_ovector_pointer(match)[0];
}

void PreTokenizer::Steps::Run(std::size_t step, Subject text, const Matches& matches,
                              const PieceSink& sink) const {
  if (text.bytes.empty()) return;
  if (step == steps.size()) {
    sink(text.bytes);
    return;
  }
  if (!steps[step].prefix_space || text.bytes.front() == ' ') {
    Apply(step, text, matches, sink);
    return;
  }
  std::string bytes(1, ' ');
  std::string seen(1, ' ');
  bytes.append(text.bytes);
  seen.append(text.seen);
  Apply(step, {bytes, seen}, matches, sink);
}

void PreTokenizer::Steps::Apply(std::size_t step, Subject text, const Matches& matches,
                                const PieceSink& sink) const {
  if (!steps[step].code) {
    Run(step + 1, text, matches, sink);
    return;
  }
  pcre2_match_data* match = matches[step].get();
  std::size_t done = 0;
  while (done < text.seen.size()) {
    const std::size_t begin = Find(steps[step], match, text.seen, done);
    if (begin == kNowhere) break;
    const std::size_t end = pcre2_get_ovector_pointer(match)[1];
    Run(step + 1, text.Part(done, begin), matches, sink);
    Run(step + 1, text.Part(begin, end), matches, sink);
    done = end;
  }
  Run(step + 1, text.Part(done, text.seen.size()), matches, sink);
}

PreTokenizer::PreTokenizer(std::unique_ptr<Steps> steps) : steps_(std::move(steps)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::Compile(const std::vector<PreTokenizerStep>& steps) {
  auto compiled = std::make_unique<Steps>();
  compiled->context.reset(pcre2_match_context_create(nullptr));
  if (!compiled->context) return ResourceExhausted("no memory for a PCRE2 context");
  // The default of ten million steps is one long run of spaces.
  pcre2_set_match_limit(compiled->context.get(), std::numeric_limits<std::uint32_t>::max());
  for (const auto& step : steps) {
    CodePtr code;
    if (!step.pattern.empty()) {
      ESA_ASSIGN_OR_RETURN(code, CompilePattern(step));
    }
    compiled->steps.push_back({std::move(code), step.prefix_space});
  }
  return PreTokenizer(std::move(compiled));
}

void PreTokenizer::Split(std::string_view text, const PieceSink& sink) const {
  Steps::Matches matches;
  for (const auto& step : steps_->steps) {
    matches.emplace_back(step.code ? pcre2_match_data_create(1, nullptr) : nullptr);
  }
  const std::string seen = ReplaceInvalidUtf8(text);
  steps_->Run(0, {text, seen.empty() ? text : std::string_view(seen)}, matches, sink);
}

std::string_view Gpt2SplitPattern() {
  return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
}

std::string EscapePattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                      static_cast<unsigned char>(c) >= 0x80;
    if (!word) pattern.push_back('\\');
    pattern.push_back(c);
  }
  return pattern;
}

}  // namespace esa

#include "model/tokenizer_json_document.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "model/tokenizer_json_field.h"

namespace esa {
namespace {

using Json = nlohmann::json;

// Builds a tree of everything, except inside model.vocab (an object) and model.merges (an array),
// whose entries go to the document's tables. Depth counts the open objects and arrays.
class DocumentReader : public nlohmann::json_sax<Json> {
 public:
  DocumentReader(const std::string& file, TokenizerDocument* document)
      : file_(file), document_(document) {}

  bool null() override { return Scalar(nullptr); }
  bool boolean(bool value) override { return Scalar(value); }
  bool number_integer(std::int64_t value) override { return Scalar(value); }
  bool number_float(double value, const std::string&) override { return Scalar(value); }
  bool binary(Json::binary_t&) override { return false; }

  bool number_unsigned(std::uint64_t value) override {
    if (table_ != Table::kVocab || !InTable(0)) return Scalar(value);
    // Beyond an int32 every id is out of range; Build says so with the token's name.
    constexpr std::uint64_t kMax = std::numeric_limits<std::int32_t>::max();
    document_->model.vocab.push_back(
        {std::move(key_), static_cast<std::int32_t>(value < kMax ? value : kMax)});
    return true;
  }

  bool string(std::string& value) override {
    if (table_ != Table::kMerges) return Scalar(std::move(value));
    if (InTable(0)) return SpacedMerge(value);
    pair_.push_back(std::move(value));
    return true;
  }

  bool key(std::string& name) override {
    key_ = std::move(name);
    return true;
  }

  bool start_object(std::size_t) override {
    if (table_ != Table::kNone) return BadEntry("an object");
    if (AtModelMember("vocab")) {
      document_->has_vocab = true;
      return OpenTable(Table::kVocab);
    }
    return Open(Json::object());
  }

  bool start_array(std::size_t) override {
    if (table_ == Table::kMerges && InTable(0)) {
      pair_.clear();
      ++depth_;
      return true;
    }
    if (table_ != Table::kNone) return BadEntry("an array");
    if (AtModelMember("merges")) {
      document_->has_merges = true;
      return OpenTable(Table::kMerges);
    }
    return Open(Json::array());
  }

  bool end_object() override { return Close(); }
  bool end_array() override {
    if (table_ == Table::kMerges && InTable(1)) return EndPair();
    return Close();
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    error_ = MalformedJson(file_, position);
    return false;
  }

  const std::optional<Error>& error() const { return error_; }

 private:
  enum class Table { kNone, kVocab, kMerges };

  bool InTable(int depth_inside) const { return depth_ == table_depth_ + depth_inside; }

  bool AtModelMember(std::string_view name) const {
    return open_.size() == 2 && member_of_root_ == "model" && key_ == name;
  }

  bool OpenTable(Table table) {
    table_ = table;
    table_depth_ = ++depth_;
    return true;
  }

  bool Open(Json value) {
    if (open_.size() == 1) member_of_root_ = key_;
    Json* placed = Place(std::move(value));
    open_.push_back(placed);
    ++depth_;
    return true;
  }

  bool Close() {
    --depth_;
    if (table_ != Table::kNone) {
      table_ = Table::kNone;
    } else {
      open_.pop_back();
    }
    return true;
  }

  template <class T>
  bool Scalar(T&& value) {
    if (table_ != Table::kNone) return BadEntry(DescribeJson(Json(std::forward<T>(value))));
    Place(Json(std::forward<T>(value)));
    return true;
  }

  // Values stay where they are put until their parent is closed: an array grows only after its last
  // element is complete, and nlohmann's objects are trees.
  Json* Place(Json value) {
    if (open_.empty()) {
      document_->rest = std::move(value);
      return &document_->rest;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  bool SpacedMerge(std::string_view merge) {
    const std::size_t space = merge.find(' ');
    const bool two = space != std::string_view::npos && space > 0 && space + 1 < merge.size() &&
                     merge.find(' ', space + 1) == std::string_view::npos;
    if (!two) return BadEntry(DescribeJson(Json(merge)));
    document_->model.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    return true;
  }

  bool EndPair() {
    if (pair_.size() != 2) {
      return BadEntry("an array of " + std::to_string(pair_.size()) + " strings");
    }
    document_->model.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
    --depth_;
    return true;
  }

  bool BadEntry(const std::string& found) {
    const bool vocab = table_ == Table::kVocab;
    const std::string field =
        vocab ? "model.vocab[" + DescribeJson(Json(key_)) + "]"
              : "model.merges[" + std::to_string(document_->model.merges.size()) + "]";
    error_ = DataError(file_ + ": " + field + ": found " + found + ", expected " +
                       (vocab ? "an id" : "\"left right\" or [\"left\", \"right\"]"));
    return false;
  }

  const std::string& file_;
  TokenizerDocument* document_;
  std::vector<Json*> open_;
  std::string key_;
  std::string member_of_root_;
  std::vector<std::string> pair_;
  Table table_ = Table::kNone;
  int depth_ = 0;
  int table_depth_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<TokenizerDocument> ReadTokenizerDocument(std::string_view text, const std::string& file) {
  TokenizerDocument document;
  DocumentReader reader(file, &document);
  bool complete = false;
  try {
    complete = Json::sax_parse(text, &reader);
  } catch (const Json::exception&) {
    return MalformedJson(file, 0);
  }
  if (reader.error()) return *reader.error();
  if (!complete) return MalformedJson(file, 0);
  if (!document.rest.is_object()) {
    return FieldError(file, "the document", document.rest, "an object");
  }
  return document;
}

}  // namespace esa

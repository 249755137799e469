// Reads the fields of one object of a configuration file and names every mistake. Private to base.
//
// Used once: read every key you know, each over the value that is there, then Finish. The first
// mistake is kept and the rest of the object ignored.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "esa/options.h"
#include "esa/result.h"

namespace esa {

class ObjectReader {
 public:
  // `where` is the file and the path to the object: "config.yaml: store". Keeps a reference to
  // `object`.
  ObjectReader(std::string where, const nlohmann::json& object);

  bool Has(const std::string& key);
  void Text(const std::string& key, std::string* out);
  void Bool(const std::string& key, bool* out);
  void Int(const std::string& key, std::int64_t least, std::int64_t most, int* out);
  // A size as ParseBytes reads it, or a plain number of bytes.
  void Bytes(const std::string& key, std::uint64_t* out);
  // A number from 0 to 1.
  void Share(const std::string& key, double* out);
  // A number, in units of 2^30 bytes.
  void Gibibytes(const std::string& key, std::uint64_t* out);
  // One folder, several with colons or commas between them, or a list.
  void Folders(const std::string& key, std::vector<std::string>* out);
  // A list of texts.
  void Texts(const std::string& key, std::vector<std::string>* out);
  // An object of plain values.
  void Values(const std::string& key, Options* out);
  // The object below `key`, or null where it is not given.
  const nlohmann::json* Object(const std::string& key);
  const nlohmann::json* List(const std::string& key);

  // A mistake at this object; Adopt takes one that a reader below has put into words.
  void Fail(const std::string& message);
  void Adopt(const Error& error);
  // How the object under `key` is called in messages.
  std::string Below(const std::string& key) const;

  Status Finish() const;

 private:
  const nlohmann::json* Find(const std::string& key);
  void Expected(const std::string& key, const nlohmann::json& found, const std::string& expected);

  std::string where_;
  const nlohmann::json& object_;
  std::set<std::string> known_;
  std::string error_;
};

// "a:b", "a,b" -> {"a", "b"}; empty parts are left out.
std::vector<std::string> SplitFolders(const std::string& text);

}  // namespace esa

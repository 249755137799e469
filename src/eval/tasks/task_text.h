// The words and templates of tasks.json, which the embedded model was trained on too. Private to
// eval.
//
// Every text is a template: {slot} draws from the word list of that name, {digits4} four digits;
// {attribute}, {name} and {value} are the parts of a fact. A slot that occurs twice is drawn twice.
//
// Threading: immutable after Load.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "esa/result.h"

namespace esa {

struct Fact {
  std::string attribute;
  std::string name;
  std::string value;
};

// How many facts a context holds. The first is asked for; some of the others resemble it.
struct TaskShape {
  std::int64_t facts = 1;
  std::int64_t same_attribute = 0;
  std::int64_t same_name = 0;
  double fact_share = 0;  // in place of `facts`: this part of the context's tokens
};

class TaskText {
 public:
  // Errors name the file, the field and what was expected; also a slot without a list.
  static Result<TaskText> Load(const std::string& path);

  const std::map<std::string, TaskShape>& tasks() const { return tasks_; }
  // How many facts differ in attribute or name.
  std::int64_t num_pairs() const;

  std::string Filler(SplitMix64* rng) const;
  // Empty attribute or name: drawn.
  Fact DrawFact(const std::string& attribute, const std::string& name, SplitMix64* rng) const;
  std::string Sentence(const Fact& fact) const;
  std::string Question(const Fact& fact) const;

 private:
  using Words = std::vector<std::string>;
  struct FactKind {
    std::string attribute_list;
    std::string value_template;
  };

  std::string Expand(const std::string& text, SplitMix64* rng) const;
  const FactKind& KindOf(const std::string& attribute) const;
  Status CheckSlots(const std::string& path) const;

  std::map<std::string, Words> lists_;
  Words filler_;
  std::string fact_template_;
  std::vector<FactKind> kinds_;
  std::string question_;
  std::map<std::string, TaskShape> tasks_;
};

}  // namespace esa

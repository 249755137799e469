// A line on a terminal that says how far a long piece of work has come.
//
// Threading: one thread at a time.
#pragma once

#include <chrono>
#include <string>

namespace esa {

class Progress {
 public:
  // Draws on stderr, and only where stderr is a terminal and `wanted`.
  explicit Progress(std::string label, bool wanted = true);
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `fraction` of the work is done; `note` stands behind the bar. Draws at most ten times a second.
  void Update(double fraction, const std::string& note = "");

  // Takes the line away, so that other text can be written.
  void Clear();

 private:
  std::string label_;
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

// "[=====>    ] 52%", `width` characters between the brackets.
std::string ProgressBar(double fraction, int width);

// "42s", "3m05s", "1h02m".
std::string ShortDuration(double seconds);

}  // namespace esa

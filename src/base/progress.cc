#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace esa {
namespace {

constexpr int kBarWidth = 24;
constexpr auto kRedraw = std::chrono::milliseconds(100);

}  // namespace

Progress::Progress(std::string label, bool wanted)
    : label_(std::move(label)),
      enabled_(wanted && isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()) {}

void Progress::Update(double fraction, const std::string& note) {
  const auto now = std::chrono::steady_clock::now();
  if (!enabled_ || (drawn_ && now - last_draw_ < kRedraw)) return;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  std::string left;
  if (fraction > 0 && elapsed > 1) {
    left = ", " + ShortDuration(elapsed * (1 - fraction) / fraction) + " left";
  }
  const std::string behind = note.empty() ? "" : "  " + note;
  fmt::print(stderr, "\r\x1b[K{} {}{}{}", label_, ProgressBar(fraction, kBarWidth), left, behind);
  std::fflush(stderr);
  drawn_ = true;
  last_draw_ = now;
}

void Progress::Clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

std::string ProgressBar(double fraction, int width) {
  const double part = std::clamp(fraction, 0.0, 1.0);
  const int full = static_cast<int>(part * width);
  std::string bar(full, '=');
  if (full < width) bar += '>';
  bar.resize(width, ' ');
  return fmt::format("[{}] {:3d}%", bar, static_cast<int>(part * 100));
}

std::string ShortDuration(double seconds) {
  const auto whole = static_cast<long>(std::llround(std::max(0.0, seconds)));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

}  // namespace esa

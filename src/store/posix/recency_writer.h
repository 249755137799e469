// The one idle thread of a posix store: has its folders write down uses and pins every second.
//
// So a use costs no call of the file system, and what a kill of the process loses, or another
// process does not see yet, is a second of recency.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "store/posix/folder.h"

namespace esa {

inline constexpr std::chrono::milliseconds kRecencyPeriod{1000};

class RecencyWriter {
 public:
  // The folders must outlive this.
  explicit RecencyWriter(std::vector<Folder*> folders);

 private:
  void Run(std::stop_token stop);

  const std::vector<Folder*> folders_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace esa

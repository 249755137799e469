#include "store/posix/recency_writer.h"

#include <utility>

namespace esa {

RecencyWriter::RecencyWriter(std::vector<Folder*> folders)
    : folders_(std::move(folders)), thread_([this](std::stop_token stop) { Run(stop); }) {}

void RecencyWriter::Run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    stopped_.wait_for(lock, stop, kRecencyPeriod, [] { return false; });
    if (stop.stop_requested()) return;
    for (Folder* folder : folders_) folder->Flush();
  }
}

}  // namespace esa

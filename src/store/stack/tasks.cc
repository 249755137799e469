#include "store/stack/tasks.h"

#include <cstring>
#include <map>
#include <optional>
#include <utility>

namespace esa {
namespace {

enum LoadStage { kFromUpper, kFromLower };
enum DumpStage { kBehindUpper, kThroughLower, kCopyUpper };

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Whether a part that the nearer tier failed may succeed in the other.
bool OtherTierMayHelp(const Error& error) {
  return error.code != ErrorCode::kInvalidArgument && error.code != ErrorCode::kCancelled;
}

}  // namespace

LoadTask::LoadTask(Tiers& tiers, std::vector<SliceRead> reads)
    : tiers_(tiers), reads_(std::move(reads)) {}

void LoadTask::Submit() {
  std::map<BlockId, bool> moving;
  std::map<BlockId, std::vector<std::size_t>> awaited;
  std::vector<std::size_t> others;
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    const BlockId& id = reads_[i].id;
    const auto [known, is_new] = moving.try_emplace(id, false);
    if (is_new) known->second = tiers_.mover().HurryUp(id);
    if (known->second) {
      awaited[id].push_back(i);
    } else {
      others.push_back(i);
    }
  }
  for (auto& [id, parts] : awaited) Await(id, std::move(parts));
  if (!others.empty()) Ask(kFromUpper, std::move(others));
}

void LoadTask::Ask(int stage, std::vector<std::size_t> parts) {
  std::vector<SliceRead> reads;
  for (const std::size_t part : parts) reads.push_back(reads_[part]);
  BlockStore& store = stage == kFromUpper ? tiers_.upper() : tiers_.lower();
  Add(stage, store, store.Load(std::move(reads)), std::move(parts));
}

void LoadTask::Arrived(std::vector<std::size_t> parts) { Ask(kFromUpper, std::move(parts)); }

void LoadTask::Ended(const Step& step, const Result<TaskResult>& result) {
  const std::vector<const Error*> errors = ErrorsOf(step, result);
  std::vector<std::size_t> misses;
  for (std::size_t i = 0; i < step.parts.size(); ++i) {
    const std::size_t part = step.parts[i];
    if (errors[i] == nullptr) {
      Took(step, reads_[part]);
    } else if (step.stage == kFromUpper && OtherTierMayHelp(*errors[i])) {
      misses.push_back(part);
    } else {
      Fail(part, *errors[i]);
    }
  }
  if (misses.empty()) return;
  tiers_.CountUpperMisses(misses.size());
  if (cancelled()) {
    for (const std::size_t part : misses) Fail(part, Cancelled("the load was cancelled"));
    return;
  }
  Ask(kFromLower, std::move(misses));
}

void LoadTask::Took(const Step& step, const SliceRead& read) {
  const std::uint64_t bytes = tiers_.PartBytes(read.part);
  const double seconds = SecondsSince(start_);
  Succeed(bytes);
  tiers_.Count([&](StoreStats& stats) {
    if (read.part != kRepresentations && read.part != kTokens) ++stats.loaded_slices;
    stats.loaded_bytes += bytes;
    stats.load_seconds += seconds;
  });
  if (step.stage == kFromLower && tiers_.meter().Count(read.id, bytes)) tiers_.mover().Up(read.id);
}

void LoadTask::CountFailures(const Error& error, std::size_t parts) {
  const double seconds = SecondsSince(start_) * static_cast<double>(parts);
  tiers_.Count([&](StoreStats& stats) {
    stats.load_failures += parts;
    if (error.code == ErrorCode::kCancelled) stats.cancelled_parts += parts;
    stats.load_seconds += seconds;
  });
}

DumpTask::DumpTask(Tiers& tiers, std::vector<SliceWrite> writes)
    : tiers_(tiers), writes_(std::move(writes)) {
  const std::size_t bytes = tiers_.upper().layout().representation_bytes;
  representations_.resize(writes_.size() * bytes);
  std::byte* copy = representations_.data();
  for (SliceWrite& write : writes_) {
    if (bytes > 0 && write.representation != nullptr) {
      std::memcpy(copy, write.representation, bytes);
      write.representation = copy;
    }
    copy += bytes;
  }
}

void DumpTask::Submit() {
  std::vector<std::size_t> behind;
  std::vector<std::size_t> through;
  for (std::size_t i = 0; i < writes_.size(); ++i) {
    const std::optional<DumpPath> path = tiers_.ledger().PathOf(writes_[i].id);
    if (!path) {
      Fail(i, NotFound("block " + writes_[i].id.Hex() + " is not open"));
    } else {
      (*path == DumpPath::kBehind ? behind : through).push_back(i);
    }
  }
  // The slower tier first.
  if (!through.empty()) Ask(kThroughLower, std::move(through));
  if (!behind.empty()) Ask(kBehindUpper, std::move(behind));
}

void DumpTask::Ask(int stage, std::vector<std::size_t> parts) {
  std::vector<SliceWrite> writes;
  for (const std::size_t part : parts) writes.push_back(writes_[part]);
  BlockStore& store = stage == kThroughLower ? tiers_.lower() : tiers_.upper();
  Add(stage, store, store.Dump(std::move(writes)), std::move(parts));
}

void DumpTask::Ended(const Step& step, const Result<TaskResult>& result) {
  const std::vector<const Error*> errors = ErrorsOf(step, result);
  if (step.stage == kBehindUpper) return EndedBehind(step, errors);
  if (step.stage == kThroughLower) return EndedThrough(step, errors);
  EndedCopy(step, errors);
}

void DumpTask::EndedBehind(const Step& step, const std::vector<const Error*>& errors) {
  std::vector<std::size_t> through;
  for (std::size_t i = 0; i < step.parts.size(); ++i) {
    const std::size_t part = step.parts[i];
    const BlockId& id = writes_[part].id;
    bool changed = false;
    if (errors[i] == nullptr) {
      Took();
      if (tiers_.ledger().CountUpper(id) == DumpLedger::Progress::kCommitted) {
        CountCommit();
        tiers_.mover().Down(id);
      }
    } else if (!cancelled() && OtherTierMayHelp(*errors[i]) &&
               tiers_.ledger().Redirect(id, &changed)) {
      if (changed) tiers_.upper().Abandon(id);
      through.push_back(part);
    } else {
      Fail(part, *errors[i]);
    }
  }
  if (!through.empty()) Ask(kThroughLower, std::move(through));
}

void DumpTask::EndedThrough(const Step& step, const std::vector<const Error*>& errors) {
  using Progress = DumpLedger::Progress;
  std::vector<std::size_t> copies;
  for (std::size_t i = 0; i < step.parts.size(); ++i) {
    const std::size_t part = step.parts[i];
    const BlockId& id = writes_[part].id;
    if (errors[i] != nullptr) {
      Fail(part, *errors[i]);
      continue;
    }
    Took();
    const Progress progress = tiers_.ledger().CountLower(id);
    if (progress == Progress::kCommitted || progress == Progress::kDone) CountCommit();
    if (progress == Progress::kDone) tiers_.Release(id);
    if (tiers_.ledger().UpperIsLost(id)) continue;
    if (cancelled()) {
      LoseUpper(id);
    } else {
      copies.push_back(part);
    }
  }
  if (!copies.empty()) Ask(kCopyUpper, std::move(copies));
}

void DumpTask::EndedCopy(const Step& step, const std::vector<const Error*>& errors) {
  for (std::size_t i = 0; i < step.parts.size(); ++i) {
    const BlockId& id = writes_[step.parts[i]].id;
    if (errors[i] != nullptr) {
      LoseUpper(id);
    } else if (tiers_.ledger().CountUpper(id) == DumpLedger::Progress::kDone) {
      tiers_.Release(id);
    }
  }
}

void DumpTask::LoseUpper(const BlockId& id) {
  if (tiers_.ledger().UpperIsLost(id)) return;
  tiers_.upper().Abandon(id);
  if (tiers_.ledger().LoseUpper(id) == DumpLedger::Progress::kDone) tiers_.Release(id);
}

void DumpTask::Took() {
  const std::uint64_t bytes = tiers_.PartBytes(0);
  const double seconds = SecondsSince(start_);
  Succeed(bytes);
  tiers_.Count([&](StoreStats& stats) {
    stats.dumped_bytes += bytes;
    stats.dump_seconds += seconds;
  });
}

void DumpTask::CountCommit() {
  tiers_.Count([](StoreStats& stats) { ++stats.dumped_blocks; });
}

void DumpTask::CountFailures(const Error& error, std::size_t parts) {
  const double seconds = SecondsSince(start_) * static_cast<double>(parts);
  tiers_.Count([&](StoreStats& stats) {
    stats.dump_failures += parts;
    if (error.code == ErrorCode::kCancelled) stats.cancelled_parts += parts;
    stats.dump_seconds += seconds;
  });
}

PrefetchTask::PrefetchTask(Tiers& tiers, std::span<const BlockId> ids, std::size_t max_blocks)
    : tiers_(tiers), ids_(ids.begin(), ids.end()), max_blocks_(max_blocks) {}

void PrefetchTask::Submit() {
  std::vector<BlockId> rest;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    if (i < max_blocks_ && tiers_.mover().Up(ids_[i])) {
      Await(ids_[i], {});
    } else {
      rest.push_back(ids_[i]);
    }
  }
  if (!rest.empty()) Add(0, tiers_.lower(), tiers_.lower().Prefetch(rest), {});
}

}  // namespace esa

#include "store/posix/admission.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "store/posix/checked_file.h"

namespace esa {
namespace {

enum : std::size_t { kDay, kBytes };  // of the numbers in `writes`

std::int64_t DayOfSystemClock() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::days>(now).count();
}

}  // namespace

AdmissionPolicy::AdmissionPolicy(FileSystem& files, Options options)
    : files_(files), options_(std::move(options)) {
  if (options_.second_touch) Load();
}

bool AdmissionPolicy::Admit(const BlockId& id, std::uint64_t bytes, Admission admission) {
  const bool required = admission == Admission::kRequired;
  if (options_.second_touch && !OfferedBefore(id) && !required) return false;
  return options_.write_bytes_per_day == 0 || TakeFromDay(bytes, required);
}

bool AdmissionPolicy::OfferedBefore(const BlockId& id) {
  std::uint32_t words[2];  // ids are digests: any of their bytes will do
  std::memcpy(words, id.bytes.data(), sizeof(words));
  const std::uint32_t fingerprint = std::max(words[0], 1u);
  std::lock_guard lock(mutex_);
  const auto set = ghosts_.begin() + static_cast<std::ptrdiff_t>(words[1] % kSets * kWays);
  const auto found = std::find(set, set + kWays, fingerprint);
  const bool offered = found != set + kWays;
  if (!offered) *(set + kWays - 1) = fingerprint;
  std::rotate(set, offered ? found : set + kWays - 1, (offered ? found : set + kWays - 1) + 1);
  changed_ = true;
  return offered;
}

bool AdmissionPolicy::TakeFromDay(std::uint64_t bytes, bool required) {
  const std::int64_t now = options_.day_of_now ? options_.day_of_now() : DayOfSystemClock();
  const std::uint64_t day = static_cast<std::uint64_t>(std::max<std::int64_t>(now, 0));
  auto writes = LockedNumbers::Lock(files_, options_.path + "/" + kWritesName);
  if (!writes) return true;
  const std::uint64_t known = writes->values[kDay];
  if (day > known || day + 1 < known) writes->values = {day, 0};
  const std::uint64_t taken = writes->values[kBytes] + bytes;
  if (!required && taken > options_.write_bytes_per_day) return false;
  writes->values[kBytes] = taken;
  (void)writes->Write();
  return true;
}

void AdmissionPolicy::Load() {
  ghosts_.resize(kSets * kWays);
  const std::string path = options_.path + "/" + kGhostsName;
  const auto file = files_.Open(path, {});
  if (!file) return;
  const auto payload = ReadChecked(**file, path);
  if (!payload || payload->size() != ghosts_.size() * sizeof(ghosts_[0])) return;
  std::memcpy(ghosts_.data(), payload->data(), payload->size());
}

void AdmissionPolicy::Save() {
  std::lock_guard lock(mutex_);
  if (!changed_) return;
  changed_ = false;
  const std::string path = options_.path + "/" + kGhostsName;
  const auto file = files_.Lock(path, false);
  if (!file || *file == nullptr) return;  // another store is writing its own
  (void)WriteChecked(**file, path, std::as_bytes(std::span(ghosts_)));
}

}  // namespace esa

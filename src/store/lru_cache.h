// A bounded map that forgets the least recently used: open files, parsed headers.
//
// Values are shared by the cache and by whoever works with one at the moment; a forgotten value
// lives until the last of them is done. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace esa {

template <class Key, class Value, class Hash = std::hash<Key>>
class LruCache {
 public:
  explicit LruCache(std::size_t max_entries) : max_entries_(max_entries) {}

  // Null: not there; then `*ticket` lets Put tell whether the key was erased while the caller
  // made the value, which it then must not bring back.
  std::shared_ptr<Value> Get(const Key& key, std::uint64_t* ticket) {
    std::lock_guard lock(mutex_);
    *ticket = erasures_;
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->second;
  }

  void Put(const Key& key, std::shared_ptr<Value> value, std::uint64_t ticket) {
    std::shared_ptr<Value> forgotten;  // destroyed after the lock: closing a file may take long
    std::lock_guard lock(mutex_);
    if (ticket != erasures_ || places_.contains(key)) return;
    entries_.emplace_front(key, std::move(value));
    places_.emplace(key, entries_.begin());
    if (entries_.size() <= max_entries_) return;
    forgotten = std::move(entries_.back().second);
    places_.erase(entries_.back().first);
    entries_.pop_back();
  }

  void Erase(const Key& key) {
    std::shared_ptr<Value> forgotten;
    std::lock_guard lock(mutex_);
    ++erasures_;
    const auto found = places_.find(key);
    if (found == places_.end()) return;
    forgotten = std::move(found->second->second);
    entries_.erase(found->second);
    places_.erase(found);
  }

 private:
  using Entries = std::list<std::pair<Key, std::shared_ptr<Value>>>;  // most recent first

  const std::size_t max_entries_;
  std::mutex mutex_;
  Entries entries_;                                                   // guarded by mutex_
  std::unordered_map<Key, typename Entries::iterator, Hash> places_;  // guarded by mutex_
  std::uint64_t erasures_ = 0;                                        // guarded by mutex_
};

}  // namespace esa

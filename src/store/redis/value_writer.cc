#include "store/redis/value_writer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <string_view>
#include <utility>

#include "base/status_macros.h"

namespace esa {
namespace {

// What a writer that died leaves is gone after this; every write starts it anew.
constexpr char kTemporarySeconds[] = "3600";

// Stands where the head will be. A temporary key that the server has evicted or let expire comes
// back with the next slice, without what was written before: without this, it is told by.
constexpr std::string_view kOpenMark = "esa open";

// Atomic on the server. KEYS: temporary, final. ARGV: mark, head and representations, length of the
// value, bytes of the head that say what it is. Another writer may have been first with the same
// block: then its value stays, so that no reader sees it change; what is foreign is replaced. The
// one write that a full server may refuse stands first.
constexpr std::string_view kCommitScript = R"(
local size = tonumber(ARGV[3])
if redis.call('STRLEN', KEYS[2]) == size
    and redis.call('GETRANGE', KEYS[2], 0, ARGV[4] - 1) == string.sub(ARGV[2], 1, ARGV[4]) then
  redis.call('UNLINK', KEYS[1])
  return 2
end
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1]
    or redis.call('STRLEN', KEYS[1]) ~= size then
  return 0
end
redis.call('SETRANGE', KEYS[1], 0, ARGV[2])
redis.call('PERSIST', KEYS[1])
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
)";

// Names that wait for a server that is away; the others expire.
constexpr std::size_t kMaxLeftovers = 4096;

std::string RandomName() {
  std::random_device random;
  char name[17];
  std::snprintf(name, sizeof(name), "%08x%08x", random(), random());
  return name;
}

std::string_view View(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The end of the run of one block that starts at `first`.
std::size_t EndOfBlock(std::span<ValueWrite* const> writes, std::size_t first) {
  std::size_t end = first + 1;
  while (end < writes.size() && writes[end]->value == writes[first]->value) ++end;
  return end;
}

}  // namespace

ValueWriter::ValueWriter(ConnectionPool& connections, const BlockLayout& layout)
    : connections_(connections),
      layout_(layout),
      areas_(layout),
      names_(layout),
      owner_(RandomName()) {}

Result<bool> ValueWriter::Begin(const BlockKey& key, const BlockId& parent, Deadline deadline) {
  auto value = std::make_shared<OpenValue>();
  value->temporary = names_.TemporaryOf(key.id, owner_, next_temporary_.fetch_add(1));
  ESA_ASSIGN_OR_RETURN(value->head, NewHead(layout_, key, parent, nullptr));
  value->representations.resize(areas_.representations_bytes);
  value->taken.resize(layout_.num_slices);
  ESA_ASSIGN_OR_RETURN(const auto connection, connections_.Take(deadline));
  {
    std::lock_guard lock(mutex_);
    if (!values_.emplace(key.id, value).second) return false;
  }
  connection->Append({"SET", value->temporary, kOpenMark, "EX", kTemporarySeconds});
  (void)connection->Send();
  if (Status made = connection->ReadStatus(); !made) {
    std::lock_guard lock(mutex_);
    values_.erase(key.id);
    return made.error();
  }
  return true;
}

bool ValueWriter::IsOpen(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  return values_.contains(id);
}

Result<std::shared_ptr<OpenValue>> ValueWriter::Take(const SliceWrite& write) {
  std::shared_ptr<OpenValue> value;
  {
    std::lock_guard lock(mutex_);
    const auto found = values_.find(write.id);
    if (found == values_.end()) return NotFound("block " + write.id.Hex() + " is not open");
    value = found->second;
  }
  std::lock_guard lock(value->mutex);
  if (value->failure) return *value->failure;
  if (write.slice >= layout_.num_slices || value->taken[write.slice] || write.data == nullptr ||
      (write.representation == nullptr && layout_.representation_bytes > 0)) {
    Error error =
        InvalidArgument("block " + write.id.Hex() + ": slice " + std::to_string(write.slice) +
                        " is out of range, written already, or without data");
    FailLocked(*value, error);
    return error;
  }
  value->taken[write.slice] = true;
  if (layout_.representation_bytes > 0) {
    std::memcpy(
        value->representations.data() + std::size_t{write.slice} * layout_.representation_bytes,
        write.representation, layout_.representation_bytes);
  }
  return value;
}

bool ValueWriter::Enter(ValueWrite& write) {
  std::lock_guard lock(write.value->mutex);
  if (write.value->failure) {
    write.status = *write.value->failure;
    return false;
  }
  ++write.value->num_writing;
  return true;
}

void ValueWriter::Write(std::span<ValueWrite> writes, Deadline deadline) {
  std::vector<ValueWrite*> entered;
  for (ValueWrite& write : writes) {
    if (Enter(write)) entered.push_back(&write);
  }
  auto connection = connections_.Take(deadline);
  if (connection) {
    Transfer(**connection, entered);
    SweepOn(**connection);
    return;
  }
  for (ValueWrite* write : entered) {
    write->status = connection.error();
    Settle(*write, {});
  }
}

void ValueWriter::Transfer(RedisConnection& connection, std::span<ValueWrite* const> writes) {
  std::vector<bool> make_room(writes.size());  // by the first write of a block
  for (std::size_t i = 0; i < writes.size(); i = EndOfBlock(writes, i)) {
    {
      std::lock_guard lock(writes[i]->value->mutex);
      make_room[i] = !writes[i]->value->full_size;
    }
    AskBlock(connection, writes.subspan(i, EndOfBlock(writes, i) - i), make_room[i]);
  }
  (void)connection.Send();
  // While the server works on them.
  std::vector<Result<PartSeal>> seals;
  for (const ValueWrite* write : writes) {
    seals.push_back(
        SealPart(write->value->head, write->slice, {write->data, layout_.slice_bytes}, {}));
  }
  std::vector<ValueWrite*> last;
  for (std::size_t i = 0; i < writes.size();) {
    const std::size_t end = EndOfBlock(writes, i);
    const Status status = AnswerBlock(connection, end - i, make_room[i]);
    for (; i < end; ++i) {
      writes[i]->status = !status || seals[i] ? status : seals[i].error();
      if (Settle(*writes[i], seals[i] ? *seals[i] : PartSeal{})) last.push_back(writes[i]);
    }
  }
  if (!last.empty()) Commit(connection, last);
}

// A transaction, so that a key that the server had evicted does not come back without an expiry
// when the connection ends in between.
void ValueWriter::AskBlock(RedisConnection& connection, std::span<ValueWrite* const> writes,
                           bool make_room) {
  const std::string& key = writes.front()->value->temporary;
  connection.Append({"MULTI"});
  if (make_room) {
    // Adding 0 to the last byte makes the string as long as it will be and changes nothing: a full
    // server shows now, and no slice makes it move the string to a larger place.
    const std::string last_byte = std::to_string(8 * (areas_.file_bytes - 1));  // in bits
    connection.Append({"BITFIELD", key, "INCRBY", "u8", last_byte, "0"});
  }
  for (const ValueWrite* write : writes) {
    connection.Append({"SETRANGE", key,
                       std::to_string(areas_.slices + write->slice * layout_.slice_bytes),
                       View({write->data, layout_.slice_bytes})});
  }
  connection.Append({"EXPIRE", key, kTemporarySeconds});
  connection.Append({"EXEC"});
}

Status ValueWriter::AnswerBlock(RedisConnection& connection, std::size_t num_writes,
                                bool make_room) {
  Status status;
  const auto note = [&](const Status& answer) {
    if (!answer && status.ok()) status = answer;
  };
  const std::size_t commands = num_writes + (make_room ? 2 : 1);
  for (std::size_t i = 0; i < 1 + commands; ++i) note(connection.ReadStatus());  // OK, then QUEUED
  const auto done = connection.ReadArray();
  if (!done) {
    note(done.error());
    return status;
  }
  for (const RedisReply& reply : *done) {
    if (reply.kind == RedisReply::Kind::kError) note(connection.ErrorOf(reply, "SETRANGE"));
  }
  return status;
}

// True: the block is full with this slice and to be committed; it counts as being written so long.
bool ValueWriter::Settle(ValueWrite& write, const PartSeal& seal) {
  OpenValue& value = *write.value;
  std::lock_guard lock(value.mutex);
  if (write.status.ok() && !value.failure) {
    value.full_size = true;
    value.head.SetSeal(write.slice, seal);
    if (++value.num_written == layout_.num_slices) return true;
  }
  --value.num_writing;
  if (!write.status) FailLocked(value, write.status.error());
  DiscardIfIdle(value);
  return false;
}

Result<std::vector<std::byte>> ValueWriter::FrontOf(OpenValue& value) const {
  std::vector<std::byte> front(areas_.slices);
  std::lock_guard lock(value.mutex);
  ESA_ASSIGN_OR_RETURN(const PartSeal seal,
                       SealPart(value.head, kRepresentations, value.representations, {}));
  value.head.SetSeal(kRepresentations, seal);
  ESA_RETURN_IF_ERROR(EncodeHead(value.head, front));
  std::ranges::copy(value.representations,
                    front.begin() + static_cast<std::ptrdiff_t>(areas_.representations));
  return front;
}

void ValueWriter::Commit(RedisConnection& connection, std::span<ValueWrite* const> last) {
  std::vector<Result<std::vector<std::byte>>> fronts;
  for (const ValueWrite* write : last) {
    const auto& front = fronts.emplace_back(FrontOf(*write->value));
    if (!front) continue;
    connection.Append({"EVAL", kCommitScript, "2", write->value->temporary,
                       names_.BlockOf(write->value->head.id), kOpenMark, View(*front),
                       std::to_string(areas_.file_bytes), std::to_string(kIdentityBytes)});
  }
  (void)connection.Send();
  for (std::size_t i = 0; i < last.size(); ++i) {
    EndCommit(*last[i], fronts[i] ? connection.ReadInteger() : fronts[i].error());
  }
}

void ValueWriter::EndCommit(ValueWrite& write, const Result<std::int64_t>& outcome) {
  OpenValue& value = *write.value;
  if (!outcome) {
    write.status = outcome.error();
  } else if (*outcome == 0) {
    write.status =
        ResourceExhausted("block " + value.head.id.Hex() +
                          ": the server evicted it, or let it expire, as it was written");
  }
  write.committed = write.status.ok();
  std::lock_guard lock(value.mutex);
  --value.num_writing;
  if (!write.status) {
    FailLocked(value, write.status.error());
    return;
  }
  value.discarded = true;
  // Visible before it is no longer open: whoever finds it in neither state may begin it.
  std::lock_guard table_lock(mutex_);
  const auto found = values_.find(value.head.id);
  if (found != values_.end() && found->second == write.value) values_.erase(found);
}

void ValueWriter::FailLocked(OpenValue& value, Error error) {
  if (!value.failure) value.failure = std::move(error);
  DiscardIfIdle(value);
}

void ValueWriter::DiscardIfIdle(OpenValue& value) {
  if (!value.failure || value.num_writing > 0 || value.discarded) return;
  value.discarded = true;
  std::lock_guard lock(mutex_);
  if (leftovers_.size() < kMaxLeftovers) leftovers_.push_back(value.temporary);
}

void ValueWriter::Fail(OpenValue& value, Error error) {
  std::lock_guard lock(value.mutex);
  FailLocked(value, std::move(error));
}

void ValueWriter::Abandon(const BlockId& id) {
  std::shared_ptr<OpenValue> value;
  {
    std::lock_guard lock(mutex_);
    auto node = values_.extract(id);
    if (node.empty()) return;
    value = std::move(node.mapped());
  }
  Fail(*value, Cancelled("block " + id.Hex() + " was abandoned"));
}

void ValueWriter::AbandonAll() {
  std::vector<BlockId> ids;
  {
    std::lock_guard lock(mutex_);
    for (const auto& entry : values_) ids.push_back(entry.first);
  }
  for (const BlockId& id : ids) Abandon(id);
}

bool ValueWriter::HasLeftovers() const {
  std::lock_guard lock(mutex_);
  return !leftovers_.empty();
}

void ValueWriter::Sweep(Deadline deadline) {
  if (!HasLeftovers()) return;
  if (auto connection = connections_.Take(deadline)) SweepOn(**connection);
}

void ValueWriter::SweepOn(RedisConnection& connection) {
  std::vector<std::string> keys;
  {
    std::lock_guard lock(mutex_);
    keys.swap(leftovers_);
  }
  if (keys.empty()) return;
  std::vector<std::string_view> command{"UNLINK"};
  command.insert(command.end(), keys.begin(), keys.end());
  connection.Append(command);
  (void)connection.Send();
  if (connection.ReadInteger().ok()) return;
  std::lock_guard lock(mutex_);
  if (leftovers_.empty()) leftovers_ = std::move(keys);
}

}  // namespace esa

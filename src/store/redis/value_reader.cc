#include "store/redis/value_reader.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/status_macros.h"

namespace esa {
namespace {

// Tokens and checksums of 20,000 blocks of a model of 256 slices, 2.5 million tokens.
constexpr std::size_t kHeadCacheBytes = 64u << 20;

constexpr char kQuarantineSeconds[] = "3600";  // long enough to be looked at
constexpr char kScanCount[] = "1000";          // names the server looks at per round trip

std::size_t MaxHeads(const BlockAreas& areas) {
  return std::max<std::size_t>(16, kHeadCacheBytes / areas.head_bytes());
}

}  // namespace

ValueReader::ValueReader(ConnectionPool& connections, const BlockLayout& layout,
                         bool verify_checksums)
    : connections_(connections),
      layout_(layout),
      areas_(layout),
      names_(layout),
      verify_checksums_(verify_checksums),
      heads_(MaxHeads(areas_)) {}

std::uint64_t ValueReader::PartBytes(std::uint32_t part) const {
  if (part == kTokens) return layout_.block_tokens * sizeof(std::int32_t);
  return part == kRepresentations ? areas_.representations_bytes : layout_.slice_bytes;
}

std::uint64_t ValueReader::OffsetOf(std::uint32_t part) const {
  return part == kRepresentations ? areas_.representations
                                  : areas_.slices + part * layout_.slice_bytes;
}

// The length first: a value that another process commits between the two has a length of 0 and is
// not there yet; one that is removed between them has an empty head.
ValueReader::HeadRequest ValueReader::Ask(RedisConnection& connection, const BlockId& id) {
  HeadRequest request{.id = id};
  request.cached = heads_.Get(id, &request.ticket);
  const std::string key = names_.BlockOf(id);
  connection.Append({"STRLEN", key});
  if (!request.cached) {
    connection.Append({"GETRANGE", key, "0", std::to_string(areas_.head_bytes() - 1)});
  }
  return request;
}

Result<ValueReader::Head> ValueReader::Answer(RedisConnection& connection,
                                              const HeadRequest& request) {
  const Result<std::int64_t> length = connection.ReadInteger();
  Result<std::string> bytes = std::string();
  if (!request.cached) bytes = connection.ReadBulk();
  if (!length) return length.error();
  if (!bytes) return bytes.error();
  if (*length == 0 || (!request.cached && bytes->empty())) {
    heads_.Erase(request.id);
    return NotFound("block " + request.id.Hex() + " is not stored");
  }
  const bool whole = static_cast<std::uint64_t>(*length) == areas_.file_bytes;
  if (request.cached && whole) return request.cached;
  const Error wrong_length =
      DataError(names_.BlockOf(request.id) + ": is " + std::to_string(*length) +
                " bytes long, expected " + std::to_string(areas_.file_bytes));
  if (request.cached) return wrong_length;
  // The head first: a value of another layout may have another length.
  Result<Head> head = Decode(request, *bytes);
  if (!head || whole) return head;
  heads_.Erase(request.id);
  return wrong_length;
}

Result<ValueReader::Head> ValueReader::Decode(const HeadRequest& request,
                                              const std::string& bytes) {
  Result<BlockHead> decoded =
      DecodeHead(std::as_bytes(std::span(bytes)), layout_, request.id, nullptr);
  if (!decoded) {
    return Error{decoded.error().code, names_.BlockOf(request.id) + ": " + decoded.error().message};
  }
  auto head = std::make_shared<const BlockHead>(*std::move(decoded));
  heads_.Put(request.id, head, request.ticket);
  return head;
}

std::vector<Result<ValueReader::Head>> ValueReader::Heads(std::span<const BlockId> ids,
                                                          Deadline deadline) {
  auto connection = connections_.Take(deadline);
  if (!connection) return {ids.size(), Result<Head>(connection.error())};
  std::vector<HeadRequest> requests(ids.size());
  // Backwards, so that of what one lookup uses the start of the chain is the most recent.
  for (std::size_t i = ids.size(); i-- > 0;) requests[i] = Ask(**connection, ids[i]);
  (void)(*connection)->Send();
  std::vector<Result<Head>> heads(ids.size(), Result<Head>(Head()));
  for (std::size_t i = ids.size(); i-- > 0;) heads[i] = Answer(**connection, requests[i]);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (heads[i]) continue;
    const Error error = heads[i].error();
    if (error.code == ErrorCode::kDataError) Quarantine(ids[i], deadline);
    if (error.code != ErrorCode::kUnsupported) continue;
    ++foreign_;
    heads[i] = NotFound(error.message);
  }
  return heads;
}

void ValueReader::AskPart(RedisConnection& connection, const SliceRead& read) {
  const std::uint64_t bytes = PartBytes(read.part);
  if (read.part == kTokens || bytes == 0) return;
  const std::uint64_t offset = OffsetOf(read.part);
  connection.Append({"GETRANGE", names_.BlockOf(read.id), std::to_string(offset),
                     std::to_string(offset + bytes - 1)});
}

Status ValueReader::Verify(const SliceRead& read, const BlockHead& head) const {
  if (!verify_checksums_) return {};
  const Status sound = VerifyPart(head, read.part, {read.destination, PartBytes(read.part)});
  if (sound.ok()) return sound;
  return DataError(names_.BlockOf(read.id) + ": " + sound.error().message);
}

Status ValueReader::AnswerPart(RedisConnection& connection, const SliceRead& read,
                               const Result<Head>& head) {
  const std::uint64_t bytes = PartBytes(read.part);
  if (read.part == kTokens || bytes == 0) {
    if (!head) return head.error();
    if (bytes > 0) std::ranges::copy(std::as_bytes(std::span((*head)->tokens)), read.destination);
    return {};
  }
  const auto received = connection.ReadBulkInto({read.destination, bytes});
  if (!head) return head.error();
  if (!received) return received.error();
  if (*received == 0) return NotFound("block " + read.id.Hex() + " is not stored any more");
  if (*received != bytes) return DataError(names_.BlockOf(read.id) + ": was cut short");
  return Verify(read, **head);
}

void ValueReader::ReadOnce(std::span<ValueRead* const> reads, Deadline deadline) {
  auto connection = connections_.Take(deadline);
  if (!connection) {
    for (ValueRead* read : reads) read->status = connection.error();
    return;
  }
  const auto starts_block = [&](std::size_t i) {
    return i == 0 || reads[i]->read.id != reads[i - 1]->read.id;
  };
  std::vector<HeadRequest> requests;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    if (starts_block(i)) requests.push_back(Ask(**connection, reads[i]->read.id));
    AskPart(**connection, reads[i]->read);
  }
  (void)(*connection)->Send();
  auto request = requests.begin();
  Result<Head> head = Head();
  for (std::size_t i = 0; i < reads.size(); ++i) {
    if (starts_block(i)) head = Answer(**connection, *request++);
    reads[i]->status = AnswerPart(**connection, reads[i]->read, head);
  }
}

void ValueReader::Read(std::span<ValueRead> reads, Deadline deadline) {
  std::vector<ValueRead*> open;
  for (ValueRead& read : reads) open.push_back(&read);
  ReadOnce(open, deadline);
  const auto settled = [](const ValueRead* read) {
    return read->status.ok() || (read->status.error().code != ErrorCode::kDataError &&
                                 read->status.error().code != ErrorCode::kUnsupported);
  };
  std::erase_if(open, settled);
  if (open.empty()) return;
  // Once more from the start: another process may have replaced the value, so that the head at
  // hand is of the old one and the bytes are of the new.
  for (const ValueRead* read : open) heads_.Erase(read->read.id);
  ReadOnce(open, deadline);
  std::erase_if(open, settled);
  std::unordered_set<BlockId, BlockIdHash> corrupt;
  for (ValueRead* read : open) {
    if (read->status.error().code == ErrorCode::kUnsupported) {
      read->status = NotFound(read->status.error().message);
    } else {
      corrupt.insert(read->read.id);
    }
  }
  for (const BlockId& id : corrupt) Quarantine(id, deadline);
}

// The expiry goes first and moves along with the name: nothing corrupt stays for good, also when
// the second command is not reached.
void ValueReader::Quarantine(const BlockId& id, Deadline deadline) {
  heads_.Erase(id);
  auto connection = connections_.Take(deadline);
  if (!connection) return;
  const std::string key = names_.BlockOf(id);
  (*connection)->Append({"EXPIRE", key, kQuarantineSeconds});
  (*connection)->Append({"RENAME", key, names_.QuarantineOf(id)});
  (void)(*connection)->Send();
  (void)(*connection)->ReadInteger();
  if ((*connection)->ReadStatus().ok()) ++quarantined_;
}

Result<bool> ValueReader::Remove(const BlockId& id, Deadline deadline) {
  heads_.Erase(id);
  ESA_ASSIGN_OR_RETURN(const auto connection, connections_.Take(deadline));
  connection->Append({"UNLINK", names_.BlockOf(id)});
  (void)connection->Send();
  ESA_ASSIGN_OR_RETURN(const std::int64_t removed, connection->ReadInteger());
  return removed > 0;
}

Result<std::uint64_t> ValueReader::Count(Deadline deadline) {
  ESA_ASSIGN_OR_RETURN(const auto connection, connections_.Take(deadline));
  const std::string pattern = names_.AllBlocks();
  std::unordered_set<std::string> found;  // a scan may name a key twice
  std::string cursor = "0";
  do {
    connection->Append({"SCAN", cursor, "MATCH", pattern, "COUNT", kScanCount});
    (void)connection->Send();
    ESA_ASSIGN_OR_RETURN(std::vector<RedisReply> page, connection->ReadArray());
    if (page.size() != 2) return IoError("SCAN: expected a cursor and names");
    cursor = std::move(page[0].text);
    for (RedisReply& name : page[1].elements) found.insert(std::move(name.text));
  } while (cursor != "0");
  return found.size();
}

}  // namespace esa

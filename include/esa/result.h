// The one way this library reports what can fail in a correct program: a value or an Error.
//
// Standard library only, so that it can stand in public headers. Values are plain data: a Result
// may be moved between threads like the T it holds.
#pragma once

#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace esa {

enum class ErrorCode {
  kInvalidArgument,    // the caller's input is wrong; the message says what was expected
  kNotFound,           // a file, block or name that does not exist
  kDataError,          // a file whose content is not what its format says
  kIoError,            // the operating system refused
  kResourceExhausted,  // a budget (memory, disk, queue) does not suffice
  kDeadlineExceeded,
  kCancelled,
  kUnsupported,
};

// One line, made for a person: what, where, what was expected.
struct Error {
  ErrorCode code = ErrorCode::kInvalidArgument;
  std::string message;
};

inline Error InvalidArgument(std::string m) { return {ErrorCode::kInvalidArgument, std::move(m)}; }
inline Error NotFound(std::string m) { return {ErrorCode::kNotFound, std::move(m)}; }
inline Error DataError(std::string m) { return {ErrorCode::kDataError, std::move(m)}; }
inline Error IoError(std::string m) { return {ErrorCode::kIoError, std::move(m)}; }
inline Error ResourceExhausted(std::string m) {
  return {ErrorCode::kResourceExhausted, std::move(m)};
}
inline Error DeadlineExceeded(std::string m) {
  return {ErrorCode::kDeadlineExceeded, std::move(m)};
}
inline Error Cancelled(std::string m) { return {ErrorCode::kCancelled, std::move(m)}; }
inline Error Unsupported(std::string m) { return {ErrorCode::kUnsupported, std::move(m)}; }

// A T or an Error. Reading the side that is not there ends the program.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return Get(); }
  const T& value() const& { return const_cast<Result*>(this)->Get(); }
  T&& value() && { return std::move(Get()); }
  T& operator*() & { return Get(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(Get()); }
  T* operator->() { return &Get(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    if (ok()) std::abort();
    return *std::get_if<1>(&state_);
  }

 private:
  T& Get() {
    if (!ok()) std::abort();
    return *std::get_if<0>(&state_);
  }
  std::variant<T, Error> state_;
};

// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    if (ok_) std::abort();
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace esa

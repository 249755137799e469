// The key that encrypts a store's blocks, from where the user keeps it.
#pragma once

#include <optional>
#include <string>

#include "esa/result.h"
#include "store/secret_key.h"

namespace esa {

inline constexpr char kStoreKeyVariable[] = "ESA_STORE_KEY";

// From `path` (StoreConfig::encryption_key_file) unless it is empty, else from the environment,
// ESA_STORE_KEY; nullopt when neither is set. The file holds 32 random bytes or 64 hexadecimal
// digits, the variable the digits; a newline may follow. Errors, which never tell the content:
// kNotFound and kIoError of the file; kInvalidArgument: not a key, or not its owner's alone to
// read.
Result<std::optional<SecretKey>> ReadStoreKey(const std::string& path);

}  // namespace esa

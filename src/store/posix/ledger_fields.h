// The numbers in FOLDER/ledger, which the stores of a folder that has a capacity share.
#pragma once

#include <cstddef>

namespace esa {

enum LedgerField : std::size_t {
  kStoredBytes,    // of committed blocks
  kReservedBytes,  // for blocks being written
  kReservedEver,   // bytes; only rises, so that a store sees how much the others wrote
  kPinChanges,     // how often any store published its pins
};

}  // namespace esa

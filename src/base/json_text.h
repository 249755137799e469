// Wording shared by everything that reports on JSON input.
#pragma once

#include <string>
#include <string_view>

namespace esa {

// What the JSON library said, without its internal exception code: one line for a person.
std::string JsonErrorText(std::string_view what);

}  // namespace esa

#include "model/tokenizer_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

namespace esa {
namespace {

struct LeadByte {
  int length = 0;  // of the whole character; 0: begins none
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
};

// Table 3-7 of the Unicode standard: the second byte excludes overlong forms, surrogates and what
// lies above U+10FFFF.
LeadByte ReadLead(unsigned char lead) {
  if (lead < 0x80) return {1};
  if (lead >= 0xC2 && lead <= 0xDF) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  if (lead >= 0xF1 && lead <= 0xF3) return {4};
  return {};
}

struct CodepointRange {
  char32_t first;
  char32_t last;
};

// The marks that Unicode 9 did not know. The NFC of the tokenizers library, with whose ids the
// models are trained, has that version's tables and neither reorders nor composes them. Found by
// comparing all code points with tokenizers 0.22; rising, for a binary search.
constexpr CodepointRange kMarksSinceUnicode9[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}};

// A character that utf8proc must not see. U+11A7 is one because utf8proc up to 2.8 takes it for the
// "no final consonant" of Hangul arithmetic and drops it.
bool PassesNfc(char32_t c) {
  if (c < kMarksSinceUnicode9[0].first) return false;
  if (c == 0x11A7) return true;
  const auto* end = std::end(kMarksSinceUnicode9);
  const auto* range = std::partition_point(std::begin(kMarksSinceUnicode9), end,
                                           [c](CodepointRange r) { return r.last < c; });
  return range != end && range->first <= c;
}

// A character before which NFC never reaches back: a starter that is no second part of any
// composition. Only the ranges that fill real texts; everything else goes to utf8proc.
bool BoundsNfc(char32_t c) {
  return c < 0x300 || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x400 && c <= 0x482) ||
         (c >= 0x2010 && c <= 0x2027) || (c >= 0x3001 && c <= 0x3029) ||
         (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) ||
         (c >= 0x3400 && c <= 0x4DBF) || (c >= 0xAC00 && c <= 0xD7A3) ||
         (c >= 0xFF01 && c <= 0xFF9D) || (c >= 0x1F300 && c <= 0x1FAFF);
}

int CombiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Appends the full canonical decomposition of `c`.
void Decompose(char32_t c, std::vector<utf8proc_int32_t>* out) {
  constexpr utf8proc_ssize_t kMaxDecomposed = 8;  // Unicode's longest has 4
  const std::size_t before = out->size();
  out->resize(before + kMaxDecomposed);
  int bound_class = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(c), out->data() + before, kMaxDecomposed,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &bound_class);
  const bool fits = count > 0 && count <= kMaxDecomposed;
  if (!fits) (*out)[before] = static_cast<utf8proc_int32_t>(c);
  out->resize(before + (fits ? static_cast<std::size_t>(count) : 1));
}

// utf8proc_map would do, but it sorts marks by exchanging neighbours: a letter under a megabyte of
// marks, which a hostile request may hold, would take it an hour.
void OrderMarks(std::vector<utf8proc_int32_t>* text) {
  const auto is_mark = [](utf8proc_int32_t c) { return CombiningClass(c) != 0; };
  for (auto begin = text->begin(); begin != text->end();) {
    begin = std::find_if(begin, text->end(), is_mark);
    const auto end = std::find_if_not(begin, text->end(), is_mark);
    std::stable_sort(begin, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return CombiningClass(a) < CombiningClass(b);
    });
    begin = end;
  }
}

// `text` is UTF-8.
void AppendNfcByLibrary(std::string_view text, std::string* out) {
  std::vector<utf8proc_int32_t> decomposed;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = ReadUtf8(text.substr(at));
    Decompose(step.codepoint, &decomposed);
    at += step.bytes;
  }
  OrderMarks(&decomposed);
  const utf8proc_ssize_t length =
      utf8proc_normalize_utf32(decomposed.data(), static_cast<utf8proc_ssize_t>(decomposed.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    AppendUtf8(static_cast<char32_t>(decomposed[static_cast<std::size_t>(i)]), out);
  }
}

// What str.isspace() adds to White_Space.
bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

}  // namespace

Utf8Step ReadUtf8(std::string_view text) {
  using Kind = Utf8Step::Kind;
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte_at(0);
  const LeadByte lead = ReadLead(first);
  if (lead.length == 0) return {Kind::kInvalid, 1, 0};
  if (lead.length == 1) return {Kind::kValid, 1, first};
  char32_t codepoint = first & (0xFFu >> (lead.length + 1));
  for (int i = 1; i < lead.length; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (at >= text.size()) return {Kind::kTruncated, at, 0};
    const unsigned char low = i == 1 ? lead.second_min : 0x80;
    const unsigned char high = i == 1 ? lead.second_max : 0xBF;
    if (byte_at(at) < low || byte_at(at) > high) return {Kind::kInvalid, at, 0};
    codepoint = (codepoint << 6) | (byte_at(at) & 0x3Fu);
  }
  return {Kind::kValid, static_cast<std::size_t>(lead.length), codepoint};
}

void AppendUtf8(char32_t codepoint, std::string* out) {
  const auto push = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (codepoint < 0x80) {
    push(codepoint);
    return;
  }
  if (codepoint < 0x800) {
    push(0xC0 | (codepoint >> 6));
  } else if (codepoint < 0x10000) {
    push(0xE0 | (codepoint >> 12));
    push(0x80 | ((codepoint >> 6) & 0x3F));
  } else {
    push(0xF0 | (codepoint >> 18));
    push(0x80 | ((codepoint >> 12) & 0x3F));
    push(0x80 | ((codepoint >> 6) & 0x3F));
  }
  push(0x80 | (codepoint & 0x3F));
}

std::size_t AppendValidUtf8(std::string_view text, bool keep_truncated, std::string* out) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = ReadUtf8(text.substr(at));
    if (step.kind == Utf8Step::Kind::kValid) {
      out->append(text.substr(at, step.bytes));
    } else if (step.kind == Utf8Step::Kind::kTruncated && keep_truncated) {
      return at;
    } else {
      AppendUtf8(0xFFFD, out);
    }
    at += step.bytes;
  }
  return at;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool IsWordCharacter(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

void AppendNfc(std::string_view text, std::string* out) {
  std::size_t copied = 0;  // text before this is in `out`
  std::size_t bound = 0;   // start of the last character before which NFC never reaches back
  std::size_t at = 0;
  bool plain = true;  // every character since `copied` bounds
  const auto flush = [&](std::size_t end) {
    const std::string_view rest = text.substr(copied, end - copied);
    plain ? void(out->append(rest)) : AppendNfcByLibrary(rest, out);
    copied = end;
    plain = true;
  };
  while (at < text.size()) {
    const Utf8Step step = ReadUtf8(text.substr(at));
    if (step.kind != Utf8Step::Kind::kValid || PassesNfc(step.codepoint)) {
      flush(at);
      out->append(text.substr(at, step.bytes));
      copied = bound = at + step.bytes;
    } else if (BoundsNfc(step.codepoint)) {
      if (!plain) flush(at);
      bound = at;
    } else if (plain) {
      flush(bound);
      plain = false;
    }
    at += step.bytes;
  }
  flush(text.size());
}

std::string_view StripWhiteSpace(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    if (step.kind != Utf8Step::Kind::kValid || !IsPythonSpace(step.codepoint)) break;
    text.remove_prefix(step.bytes);
  }
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    const Utf8Step step = ReadUtf8(text.substr(last));
    const bool whole = step.kind == Utf8Step::Kind::kValid && last + step.bytes == text.size();
    if (!whole || !IsPythonSpace(step.codepoint)) break;
    text.remove_suffix(step.bytes);
  }
  return text;
}

}  // namespace esa

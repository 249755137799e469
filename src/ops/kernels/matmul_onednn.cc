#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>
#include <unordered_map>

#include "ops/kernels/matmul.h"

namespace esa {
namespace {

using Memory = dnnl::memory;
using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

struct Shape {
  DType dtype;
  std::int64_t m, n, k, y_stride;
  bool has_bias;
  auto operator<=>(const Shape&) const = default;
};

struct Product {
  Memory::desc x, w, bias, y;
  dnnl::matmul primitive;
  bool cut_by_threads = false;  // sums in an order that depends on the number of threads
};

// Where oneDNN cuts a product by the number of threads, it is cut here by shape alone, and each
// piece is one thread's. Large enough that packing a piece is small against multiplying it.
constexpr std::int64_t kPieceRows = 64;
constexpr std::int64_t kPieceColumns = 256;

// Null where oneDNN has only its reference loops for the shape.
std::shared_ptr<const Product> MakeProduct(const dnnl::engine& engine, const Shape& shape) {
  const Type type = shape.dtype == DType::kBf16 ? Type::bf16 : Type::f32;
  Product product = {
      .x = Memory::desc({shape.m, shape.k}, type, Tag::ab),
      .w = Memory::desc({shape.k, shape.n}, type, Tag::ba),
      .bias = Memory::desc({1, shape.n}, Type::f32, Tag::ab),
      .y = Memory::desc({shape.m, shape.n}, Type::f32, Memory::dims{shape.y_stride, 1}),
      .primitive = {}};
  const dnnl::matmul::desc operation =
      shape.has_bias ? dnnl::matmul::desc(product.x, product.w, product.bias, product.y)
                     : dnnl::matmul::desc(product.x, product.w, product.y);
  const dnnl::matmul::primitive_desc description(operation, engine);
  const std::string_view name = description.impl_info_str();
  if (name.starts_with("ref")) return nullptr;
  product.cut_by_threads = name.starts_with("gemm");
  product.primitive = dnnl::matmul(description);
  return std::make_shared<const Product>(std::move(product));
}

// The products made so far. Prompts end in pieces of any length, so shapes keep coming: when
// there are kMost the collection starts anew. A product is owned by the collection and by the
// call that is executing it.
class Products {
 public:
  std::shared_ptr<const Product> Find(const Shape& shape) {
    const std::scoped_lock lock(mutex_);
    if (const auto found = made_.find(shape); found != made_.end()) return found->second;
    if (made_.size() == kMost) made_.clear();
    return made_.emplace(shape, MakeProduct(engine_, shape)).first->second;
  }
  const dnnl::engine& engine() const { return engine_; }

 private:
  static constexpr std::size_t kMost = 512;

  const dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  std::mutex mutex_;
  std::map<Shape, std::shared_ptr<const Product>> made_;
};

Memory View(const Memory::desc& description, const dnnl::engine& engine, const void* data) {
  return Memory(description, engine, const_cast<void*>(data));
}

std::shared_ptr<const Product> FindProduct(const MatmulTask& task, const dnnl::engine** engine) {
  static Products products;
  *engine = &products.engine();
  return products.Find({task.dtype, task.m, task.n, task.k, task.y_stride, task.bias != nullptr});
}

void Execute(const Product& product, const dnnl::engine& engine, const MatmulTask& task) {
  thread_local dnnl::stream stream(engine);
  std::unordered_map<int, Memory> arguments = {{DNNL_ARG_SRC, View(product.x, engine, task.x)},
                                               {DNNL_ARG_WEIGHTS, View(product.w, engine, task.w)},
                                               {DNNL_ARG_DST, View(product.y, engine, task.y)}};
  if (task.bias != nullptr) {
    arguments.emplace(DNNL_ARG_BIAS, View(product.bias, engine, task.bias));
  }
  product.primitive.execute(stream, arguments);
  stream.wait();
}

MatmulTask Piece(const MatmulTask& task, std::int64_t row, std::int64_t column) {
  const auto offset = [&](const void* data, std::int64_t first) {
    return static_cast<const std::byte*>(data) + first * task.k * DTypeBytes(task.dtype);
  };
  MatmulTask piece = task;
  piece.x = offset(task.x, row);
  piece.w = offset(task.w, column);
  piece.bias = task.bias == nullptr ? nullptr : task.bias + column;
  piece.y = task.y + row * task.y_stride + column;
  piece.m = std::min(kPieceRows, task.m - row);
  piece.n = std::min(kPieceColumns, task.n - column);
  return piece;
}

bool ExecutePiece(const MatmulTask& piece) try {
  const dnnl::engine* engine = nullptr;
  const auto product = FindProduct(piece, &engine);
  if (product == nullptr) return false;
  Execute(*product, *engine, piece);
  return true;
} catch (const dnnl::error&) {
  return false;
}

bool ExecuteInPieces(const MatmulTask& task) {
  bool done = true;
#pragma omp parallel for collapse(2) schedule(dynamic) reduction(&& : done)
  for (std::int64_t column = 0; column < task.n; column += kPieceColumns) {
    for (std::int64_t row = 0; row < task.m; row += kPieceRows) {
      done = ExecutePiece(Piece(task, row, column)) && done;
    }
  }
  return done;
}

}  // namespace

bool Matmul(const MatmulTask& task) try {
  const dnnl::engine* engine = nullptr;
  const std::shared_ptr<const Product> product = FindProduct(task, &engine);
  if (product == nullptr) return false;
  if (product->cut_by_threads) return ExecuteInPieces(task);
  Execute(*product, *engine, task);
  return true;
} catch (const dnnl::error&) {
  return false;
}

}  // namespace esa

#include <map>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

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
};

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
  if (std::string_view(description.impl_info_str()).substr(0, 3) == "ref") return nullptr;
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

}  // namespace

bool Matmul(const MatmulTask& task) try {
  static Products products;
  const std::shared_ptr<const Product> product =
      products.Find({task.dtype, task.m, task.n, task.k, task.y_stride, task.bias != nullptr});
  if (product == nullptr) return false;
  const dnnl::engine& engine = products.engine();
  thread_local dnnl::stream stream(engine);
  std::unordered_map<int, Memory> arguments = {{DNNL_ARG_SRC, View(product->x, engine, task.x)},
                                               {DNNL_ARG_WEIGHTS, View(product->w, engine, task.w)},
                                               {DNNL_ARG_DST, View(product->y, engine, task.y)}};
  if (task.bias != nullptr) {
    arguments.emplace(DNNL_ARG_BIAS, View(product->bias, engine, task.bias));
  }
  product->primitive.execute(stream, arguments);
  stream.wait();
  return true;
} catch (const dnnl::error&) {
  return false;
}

}  // namespace esa

// Pointers of emulated kernels: every access through them is checked and counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "libs/device/simt/machine.h"

namespace weft::simt {

// The place of a call in the kernel's source, as a default argument.
struct Here {
  Site site;
  explicit Here(const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : site{file, line} {}
};

// An index that knows where it was written.
struct Index {
  std::ptrdiff_t value;
  Site site;
  template <typename I>
  requires(std::is_integral_v<I> || std::is_enum_v<I>) constexpr Index(
      I i,  // NOLINT(google-explicit-constructor): stands in for a built-in subscript
      const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : value(static_cast<std::ptrdiff_t>(i)), site{file, line} {}
};

inline void LogAccess(Thread& thread, const Region& region, uintptr_t address, uint32_t bytes,
                      bool write, Site site) {
  const bool shared = region.space() == Space::kShared;
  const Instruction instruction =
      shared ? (write ? Instruction::kSharedStore : Instruction::kSharedLoad)
             : (write ? Instruction::kGlobalStore : Instruction::kGlobalLoad);
  thread.block->warps[thread.id / 32].log.Add(
      thread.lane, {address, site, static_cast<uint16_t>(bytes), instruction, shared});
}

// An access by the current thread. False if it must not be performed.
inline bool CheckThreadAccess(Region* region, const void* address, uint32_t bytes, uint32_t align,
                              Access access, Site site) {
  Thread& thread = Current();
  if (site.file == nullptr) {
    site = thread.site;
  } else {
    thread.site = site;
  }
  if (region == nullptr) {
    CurrentGrid().Report(DefectKind::kNotDeviceMemory, &thread, site, [&] {
      return address == nullptr ? std::string("access through a null pointer")
                                : std::string("access to memory that is no device allocation");
    });
    return false;
  }
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  if (!region->Check(at, bytes, align, access, ThreadActor(thread), site)) return false;
  if (thread.block->grid.options.counts && access != Access::kAtomic) {
    LogAccess(thread, *region, at, bytes, access == Access::kWrite, site);
  }
  return true;
}

template <typename T, Space kSpace>
class Ptr;

// What *p and p[i] of a T that is not const are. It can be read at once or assigned to, not kept.
template <typename T, Space kSpace>
class Ref {
 public:
  Ref(T* address, Region* region, Site site) : address_(address), region_(region), site_(site) {}
  Ref(const Ref&) = delete;

  operator T() && { return Load(); }  // NOLINT(google-explicit-constructor): reads like a T&
  const Ref& operator=(const T& value) const {  // NOLINT(misc-unconventional-assign-operator)
    if (CheckThreadAccess(region_, address_, sizeof(T), alignof(T), Access::kWrite, site_)) {
      std::memcpy(static_cast<void*>(address_), &value, sizeof(T));
    }
    return *this;
  }
  const Ref& operator=(const Ref& other) const {  // NOLINT: p[i] = p[j]
    return *this = other.Load();
  }
  template <Space kOther>
  requires(kOther != kSpace) const Ref& operator=(
      const Ref<T, kOther>& other) const {  // NOLINT(misc-unconventional-*)
    return *this = other.Load();
  }
  template <typename U>
  const Ref& operator+=(const U& by) const {
    return *this = static_cast<T>(Load() + by);
  }
  template <typename U>
  const Ref& operator-=(const U& by) const {
    return *this = static_cast<T>(Load() - by);
  }
  template <typename U>
  const Ref& operator*=(const U& by) const {
    return *this = static_cast<T>(Load() * by);
  }
  template <typename U>
  const Ref& operator|=(const U& by) const {
    return *this = static_cast<T>(Load() | by);
  }
  Ptr<T, kSpace> operator&() const {  // NOLINT(google-runtime-operator): the element's address
    return Ptr<T, kSpace>(address_, region_);
  }

  T Load() const {
    T value;
    if (CheckThreadAccess(region_, address_, sizeof(T), alignof(T), Access::kRead, site_)) {
      std::memcpy(&value, address_, sizeof(T));
    } else {
      std::memset(static_cast<void*>(&value), 0xff, sizeof(T));
    }
    return value;
  }

 private:
  T* address_;
  Region* region_;
  Site site_;
};

template <typename T, Space kSpace>
class Ptr {
 public:
  using Value = std::remove_const_t<T>;
  static_assert(std::is_void_v<T> || std::is_trivially_copyable_v<Value>);

  Ptr() = default;
  Ptr(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): like a plain pointer
  // Host code: where registered device memory starts or lies.
  Ptr(T* address)  // NOLINT(google-explicit-constructor): Params are filled from plain pointers
      requires(kSpace == Space::kGlobal)
      : address_(address), region_(address == nullptr ? nullptr : FindRegion(address)) {}
  Ptr(T* address, Region* region) : address_(address), region_(region) {}
  // T* to const T*.
  template <typename U>
  requires(std::is_convertible_v<U*, T*> && !std::is_same_v<U, T>)
      Ptr(const Ptr<U, kSpace>& other)  // NOLINT(google-explicit-constructor): as plain pointers do
      : address_(other.address()), region_(other.region()) {}

  T* address() const { return address_; }
  Region* region() const { return region_; }

  // A T of a const pointer comes by value; a mutable one can be assigned to.
  auto operator[](Index i) const { return At(i.value, i.site); }
  auto operator*() const { return At(0, Site{}); }

  explicit operator bool() const { return address_ != nullptr; }
  friend bool operator==(const Ptr& a, const Ptr& b) { return a.address_ == b.address_; }
  friend bool operator==(const Ptr& a, std::nullptr_t) { return a.address_ == nullptr; }
  friend auto operator<=>(const Ptr& a, const Ptr& b) { return a.address_ <=> b.address_; }
  // Addresses are computed as numbers: a pointer out of bounds is a defect only when it is used.
  friend Ptr operator+(const Ptr& p, std::ptrdiff_t n) { return p.Moved(n); }
  friend Ptr operator+(std::ptrdiff_t n, const Ptr& p) { return p.Moved(n); }
  friend Ptr operator-(const Ptr& p, std::ptrdiff_t n) { return p.Moved(-n); }
  friend std::ptrdiff_t operator-(const Ptr& a, const Ptr& b) {
    return (reinterpret_cast<intptr_t>(a.address_) - reinterpret_cast<intptr_t>(b.address_)) /
           static_cast<std::ptrdiff_t>(sizeof(T));
  }
  Ptr& operator+=(std::ptrdiff_t n) { return *this = Moved(n); }
  Ptr& operator-=(std::ptrdiff_t n) { return *this = Moved(-n); }
  Ptr& operator++() { return *this = Moved(1); }
  Ptr& operator--() { return *this = Moved(-1); }

 private:
  Ptr Moved(std::ptrdiff_t n) const {
    return Ptr(reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(address_) +
                                    static_cast<uintptr_t>(n) * sizeof(T)),
               region_);
  }
  auto At(std::ptrdiff_t n, Site site) const {
    T* const at = Moved(n).address_;
    if constexpr (std::is_const_v<T>) {
      return Ref<Value, kSpace>(const_cast<Value*>(at), region_, site).Load();
    } else {
      return Ref<T, kSpace>(at, region_, site);
    }
  }

  T* address_ = nullptr;
  Region* region_ = nullptr;
};

}  // namespace weft::simt

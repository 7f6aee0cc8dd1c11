// The functions of the driver interface that cust calls, on emulated devices. Built as libcuda.so.1, it is found where
// LD_LIBRARY_PATH says, by the very programs that run on a real driver.
//
//     device 0        works
//     device 1        computes wrong: a bit of everything that is copied back is another
//     device 2        has 1 MiB of memory
//     device 3 + i    is lost at its 4^i-th kernel after it was opened, i in 0 .. 5
//     device 9        computes wrong as device 1 does, from its 150th kernel on
//     device 10       works
//     device 11       is lost at its 2,000th kernel
//
// Memory is garbage at first, and what a kernel writes beyond a buffer is found when the buffer is freed.
#include "emulator.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

constexpr int SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
              NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719;
constexpr int DEVICES = 12;
constexpr size_t GUARD = 256, SMALL = 1 << 20, LARGE = (size_t)8 << 30;
constexpr unsigned char GARBAGE = 0xCD, CANARY = 0xA5;

using Clock = std::chrono::steady_clock;

struct Device {
    int owners = 0;
    uint64_t kernels = 0;
    int error = SUCCESS; // stays until the context is gone
    size_t used = 0;
    std::map<uint64_t, size_t> memory;
};

Device devices[DEVICES];
std::mutex lock;
thread_local Device *current;

int number(const Device *device) { return (int)(device - devices); }
// The kernel at which a device is lost; 0: none.
uint64_t last(int device) { return device == 11 ? 2000 : device >= 3 && device < 9 ? (uint64_t)1 << 2 * (device - 3) : 0; }
size_t capacity(int device) { return device == 2 ? SMALL : LARGE; }

// The context of the calling thread, in working order.
int enter() {
    if (!current || !current->owners) return INVALID_CONTEXT;
    return current->error;
}

bool intact(const unsigned char *guard) {
    for (size_t i = 0; i < GUARD; i++)
        if (guard[i] != CANARY) return false;
    return true;
}

// Whether an address range lies in one buffer of the current device.
bool inside(uint64_t address, size_t bytes) {
    auto above = current->memory.upper_bound(address);
    if (above == current->memory.begin()) return false;
    auto [start, size] = *std::prev(above);
    return address - start <= size && bytes <= size - (address - start);
}

} // namespace

#define API extern "C" __attribute__((visibility("default"))) int
#define LOCKED std::lock_guard<std::mutex> guard(lock)
#define ENTER                                                                                                          \
    if (int error = enter()) return error

API cuInit(unsigned) { return SUCCESS; }
API cuDriverGetVersion(int *version) { return *version = 11080, SUCCESS; }
API cuDeviceGetCount(int *count) { return *count = DEVICES, SUCCESS; }
API cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < 0 || ordinal >= DEVICES ? INVALID_DEVICE : SUCCESS;
}
API cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "emulated device %d", device);
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = capacity(device), SUCCESS; }
// Compute capability 8.0, attributes 75 and 76.
API cuDeviceGetAttribute(int *value, int attribute, int) {
    if (attribute != 75 && attribute != 76) return INVALID_VALUE;
    return *value = attribute == 75 ? 8 : 0, SUCCESS;
}
API cuDevicePrimaryCtxRetain(void **context, int device) {
    LOCKED;
    devices[device].owners++;
    *context = &devices[device];
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
    LOCKED;
    if (--devices[device].owners == 0) {
        for (auto [address, size] : devices[device].memory) free((void *)(address - GUARD));
        devices[device] = Device();
    }
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease(int device) { return cuDevicePrimaryCtxRelease_v2(device); }
API cuCtxSetCurrent(void *context) { return current = static_cast<Device *>(context), SUCCESS; }

API cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    LOCKED;
    ENTER;
    if (!bytes) return INVALID_VALUE;
    if (bytes > capacity(number(current)) - current->used) return OUT_OF_MEMORY;
    void *memory = nullptr;
    if (posix_memalign(&memory, 256, bytes + 2 * GUARD)) return OUT_OF_MEMORY;
    unsigned char *start = static_cast<unsigned char *>(memory);
    memset(start, CANARY, GUARD);
    memset(start + GUARD, GARBAGE, bytes);
    memset(start + GUARD + bytes, CANARY, GUARD);
    *address = (uint64_t)(start + GUARD);
    current->memory[*address] = bytes;
    current->used += bytes;
    return SUCCESS;
}
API cuMemFree_v2(uint64_t address) {
    LOCKED;
    ENTER;
    auto found = current->memory.find(address);
    if (found == current->memory.end()) return INVALID_VALUE;
    unsigned char *start = (unsigned char *)address;
    if (!intact(start - GUARD) || !intact(start + found->second)) {
        fprintf(stderr, "emulator: a kernel wrote beside a buffer of %zu bytes\n", found->second);
        abort();
    }
    free(start - GUARD);
    current->used -= found->second;
    current->memory.erase(found);
    return SUCCESS;
}
API cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
    LOCKED;
    ENTER;
    if (!inside(to, bytes)) return INVALID_VALUE;
    memcpy((void *)to, from, bytes);
    return SUCCESS;
}
API cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    LOCKED;
    ENTER;
    if (!inside(from, bytes)) return INVALID_VALUE;
    memcpy(to, (const void *)from, bytes);
    int device = number(current);
    if (device == 1 || (device == 9 && current->kernels >= 150)) *static_cast<unsigned char *>(to) ^= 4;
    return SUCCESS;
}
API cuMemsetD8_v2(uint64_t to, unsigned char value, size_t bytes) {
    LOCKED;
    ENTER;
    if (!inside(to, bytes)) return INVALID_VALUE;
    memset((void *)to, value, bytes);
    return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) { return cuMemcpyHtoD_v2(to, from, bytes); }
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) { return cuMemcpyDtoH_v2(to, from, bytes); }
API cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *) { return cuMemsetD8_v2(to, value, bytes); }
API cuMemAllocHost_v2(void **memory, size_t bytes) {
    ENTER;
    return *memory = malloc(bytes), *memory ? SUCCESS : OUT_OF_MEMORY;
}
API cuMemFreeHost(void *memory) {
    free(memory);
    return SUCCESS;
}

API cuStreamCreateWithPriority(void **stream, unsigned, int) { return *stream = devices, enter(); }
API cuStreamCreate(void **stream, unsigned) { return *stream = devices, enter(); }
API cuStreamSynchronize(void *) { return enter(); }
API cuStreamDestroy_v2(void *) { return SUCCESS; }

API cuEventCreate(void **event, unsigned) { return *event = new Clock::time_point(), enter(); }
API cuEventRecord(void *event, void *) { return *static_cast<Clock::time_point *>(event) = Clock::now(), enter(); }
API cuEventSynchronize(void *) { return enter(); }
API cuEventElapsedTime(float *milliseconds, void *began, void *ended) {
    auto at = [](void *event) { return *static_cast<Clock::time_point *>(event); };
    *milliseconds = std::chrono::duration<float, std::milli>(at(ended) - at(began)).count();
    return enter();
}
API cuEventDestroy_v2(void *event) {
    delete static_cast<Clock::time_point *>(event);
    return SUCCESS;
}

API cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
    ENTER;
    const char *text = static_cast<const char *>(image);
    if (!strstr(text, ".entry ")) return INVALID_IMAGE;
    return *module = new std::string(text), SUCCESS;
}
API cuModuleUnload(void *module) {
    delete static_cast<std::string *>(module);
    return SUCCESS;
}
// The kernel must be in the image as well, with as many parameters as its source has.
API cuModuleGetFunction(void **function, void *module, const char *name) {
    ENTER;
    const std::string &image = *static_cast<std::string *>(module);
    const emulator::Kernel *kernel = emulator::find(name);
    size_t from = image.find(std::string(".entry ") + name + "(");
    if (!kernel || from == std::string::npos) return NOT_FOUND;
    size_t end = image.find(")", from), parameters = 0;
    for (size_t at = from; (at = image.find(".param ", at)) < end; at++) parameters++;
    if (parameters != kernel->parameters) return NOT_FOUND;
    *function = const_cast<emulator::Kernel *>(kernel);
    return SUCCESS;
}
// What a kernel may have at its launch without asking, and at most where it asked.
constexpr unsigned SHARED = 48 << 10, MOST_SHARED = 99 << 10;
constexpr int DYNAMIC_SHARED = 8;
std::map<void *, unsigned> asked;
unsigned allowed(void *function) {
    auto found = asked.find(function);
    return found == asked.end() ? SHARED : found->second;
}
API cuFuncSetAttribute(void *function, int attribute, int value) {
    LOCKED;
    ENTER;
    if (attribute != DYNAMIC_SHARED || value < 0 || value > (int)MOST_SHARED) return INVALID_VALUE;
    return asked[function] = (unsigned)value, SUCCESS;
}
API cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                   unsigned threads_z, unsigned shared, void *, void **parameters, void **) {
    LOCKED;
    ENTER;
    // The limits of compute capability 8.0; the project's kernels use one dimension.
    if (!x || !y || !z || !threads || threads > 1024 || y > 65535 || z > 65535 || x > 0x7fffffff) return INVALID_VALUE;
    if (threads_y != 1 || threads_z != 1 || shared > allowed(function)) return INVALID_VALUE;
    uint64_t kernel = ++current->kernels;
    // As on a device, whoever asks next hears of it.
    if (uint64_t end = last(number(current)); end && kernel >= end) return current->error = ILLEGAL_ADDRESS, SUCCESS;
    unsigned blocks[3] = {x, y, z};
    if (!emulator::launch(*static_cast<emulator::Kernel *>(function), blocks, threads, shared, parameters))
        current->error = LAUNCH_FAILED;
    return SUCCESS;
}

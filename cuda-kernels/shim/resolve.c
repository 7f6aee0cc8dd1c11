/* Finds functions of the machine's CUDA driver by name; see entries.S. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The driver is never unloaded: it starts threads of its own. */
static void load(void) { library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL); }

/* CUDA_ERROR_STUB_LIBRARY, as the toolkit's own stub answers. */
static int missing(void) { return 34; }

__attribute__((visibility("hidden"))) void *driver_resolve(const char *name, void **slot) {
    pthread_once(&once, load);
    void *function = library ? dlsym(library, name) : 0;
    if (!function) function = (void *)missing;
    __atomic_store_n(slot, function, __ATOMIC_RELEASE);
    return function;
}

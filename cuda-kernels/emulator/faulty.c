// A libcuda.so.1 that loses its device: it needs the real one (DRIVER, a path), behind it all functions are found, but the kernel
// LOSE_AT of a process, counted from 1, is another, which stores to a bad address. Every later call of the process then gets the
// driver's own error, as when a device is lost. Built by scripts/faulty-driver.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

typedef int Launch(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);

static const char LOSE[] = ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry lose()\n{\n"
                           "    .reg .b64 %a;\n    mov.u64 %a, 16;\n    st.global.u32 [%a], 1;\n    ret;\n}\n";

static void *real(const char *name) {
    void *driver = dlopen(DRIVER, RTLD_NOW), *function = driver ? dlsym(driver, name) : NULL;
    if (!function) fprintf(stderr, "faulty driver: %s has no %s\n", DRIVER, name), abort();
    return function;
}

int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y, unsigned threads_z,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    static atomic_long kernels;
    const char *at = getenv("LOSE_AT");
    Launch *launch = (Launch *)real("cuLaunchKernel");
    if (!at || ++kernels != atol(at)) return launch(function, x, y, z, threads, threads_y, threads_z, shared, stream, parameters, extra);
    void *module = NULL, *lose = NULL;
    int error = ((int (*)(void **, const void *))real("cuModuleLoadData"))(&module, LOSE);
    if (!error) error = ((int (*)(void **, void *, const char *))real("cuModuleGetFunction"))(&lose, module, "lose");
    if (!error) error = launch(lose, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
    fprintf(stderr, "faulty driver: kernel %s stores to a bad address (launched: %d)\n", at, error);
    return error;
}

/* Opens a library with RTLD_DEEPBIND: its calls of malloc prefer its own dependencies, libc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include "say.h"

int main(int argc, char **argv)
{
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND) : NULL;
    if (!library)
        return 1;
    say("bytes=%ld\n", ((long (*)(long))dlsym(library, "plugin_work"))(10));
    return 0;
}

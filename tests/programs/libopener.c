/* Opens another library by its bare name, which only this library's RUNPATH can resolve. */
#include <dlfcn.h>

int open_hidden(void)
{
    void *library = dlopen("libhidden.so", RTLD_NOW);
    if (!library)
        return 0;
    ((long (*)(long))dlsym(library, "plugin_work"))(3);
    return 1;
}

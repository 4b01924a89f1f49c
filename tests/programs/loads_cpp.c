/* A C program that loads a C++ plugin, and with it the C++ library. */
#include <dlfcn.h>
#include "say.h"

int main(int argc, char **argv)
{
    void *plugin = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!plugin) {
        say("%s\n", dlerror());
        return 1;
    }
    ((void (*)(void))dlsym(plugin, "plugin_takes"))();
    ((void (*)(void))dlsym(plugin, "plugin_gives"))();
    say("caught=%d\n", ((int (*)(void))dlsym(plugin, "plugin_throws"))());
    return 0;
}

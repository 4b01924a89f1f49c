/* The program itself cannot find the library that libopener.so finds. */
#include <dlfcn.h>
#include "say.h"

extern int open_hidden(void);

int main(void)
{
    int by_main = dlopen("libhidden.so", RTLD_NOW) != NULL;
    int by_library = open_hidden();
    say("opened=%d opened_by_main=%d\n", by_library, by_main);
    return 0;
}

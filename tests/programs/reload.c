/* reload A B: opens, uses and closes two libraries in turn, and counts how often one lies where
 * the other lay before. With REMOVE_LIBRARIES it does one round each and deletes the files first. */
#include <dlfcn.h>
#include <stdlib.h>
#include "say.h"

int main(int argc, char **argv)
{
    void *address[2][64] = {{0}};
    int rounds = getenv("REMOVE_LIBRARIES") ? 1 : 64, shared_addresses = 0;
    if (argc != 3)
        return 1;
    for (int round = 0; round < rounds; round++) {
        for (int which = 0; which < 2; which++) {
            void *library = dlopen(argv[1 + which], RTLD_NOW);
            if (!library)
                return 2;
            if (rounds == 1)
                unlink(argv[1 + which]);
            long (*work)(long) = (long (*)(long))dlsym(library, "plugin_work");
            void *(*where)(void) = (void *(*)(void))dlsym(library, "plugin_address");
            address[which][round] = where();
            work(10);
            dlclose(library);
        }
    }
    for (int i = 0; i < rounds; i++)
        for (int j = 0; j < rounds; j++)
            shared_addresses += address[0][i] == address[1][j];
    say("rounds=%d shared_addresses=%d\n", rounds, shared_addresses);
    return 0;
}

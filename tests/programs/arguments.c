/* Prints its arguments in hex, one a line. */
#include "say.h"

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        for (unsigned char *at = (unsigned char *)argv[i]; *at; at++)
            say("%02x", *at);
        say("\n");
    }
    return 0;
}

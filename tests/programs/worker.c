/* What processes.c starts: says who it is and what it was given, takes a block, exits with 7. */
#include <stdlib.h>
#include <string.h>
#include "say.h"

extern char **environ;

__attribute__((noinline)) static void worked(void)
{
    void *block = malloc(888);
    say("child=%d block=%p\n", getpid(), block);
    free(block);
}

int main(int argc, char **argv)
{
    char text[3000] = "arguments=";
    for (int i = 1; i < argc; i++)
        strcat(strcat(text, argv[i]), ",");
    strcat(text, " environ=");
    for (char **entry = environ; *entry; entry++)
        /* The two by which sntrace comes along; of the first, what was the program's stays. */
        if (!strncmp(*entry, "LD_PRELOAD=", 11) && strstr(*entry, "/libsnhook.so:"))
            strcat(strcat(text, "LD_PRELOAD="), strchr(*entry, ':') + 1), strcat(text, ",");
        else if ((strncmp(*entry, "LD_PRELOAD=", 11) || !strstr(*entry, "/libsnhook.so")) &&
                 strncmp(*entry, "SNTRACE_RUN=", 12) && strlen(text) + strlen(*entry) < sizeof text - 2)
            strcat(strcat(text, *entry), ",");
    say("%s\n", text);
    worked();
    return 7;
}

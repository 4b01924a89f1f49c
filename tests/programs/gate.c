// What a gate looks at: a parser that allocates a known number of times a call, a callback that must not, leaks.
//
//   gate LINES [--callback] [--leak N] [--status N] [--echo]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

static void *volatile kept;

NOINLINE char *parse_line(int number)
{
    char *line = malloc(16 + number % 8);
    void *scratch = kept = malloc(24);
    free(scratch);
    line[0] = 0;
    return line;
}

NOINLINE void audio_callback(void)
{
    free(kept = malloc(64));
}

NOINLINE void leak_some(int times)
{
    while (times-- > 0)
        kept = malloc(100);
}

int main(int count, char **words)
{
    int lines = count > 1 ? atoi(words[1]) : 0;
    int status = 0;
    char *table = malloc(4000);
    for (int number = 0; number < lines; number++)
        free(parse_line(number));
    for (int at = 2; at < count; at++) {
        if (!strcmp(words[at], "--callback"))
            audio_callback();
        else if (!strcmp(words[at], "--leak"))
            leak_some(atoi(words[++at]));
        else if (!strcmp(words[at], "--status"))
            status = atoi(words[++at]);
        else if (!strcmp(words[at], "--echo"))
            for (int byte; (byte = getchar()) != EOF;)
                putchar(byte);
    }
    free(table);
    return status;
}

/* Prints how often each word of a file stands there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
    struct word *next;
    unsigned long count;
    char text[];
};

static struct word *words;

static void add_word(const char *text)
{
    struct word **at = &words;
    while (*at && strcmp((*at)->text, text) < 0)
        at = &(*at)->next;
    if (*at && strcmp((*at)->text, text) == 0) {
        (*at)->count++;
        return;
    }
    struct word *word = malloc(sizeof *word + strlen(text) + 1);
    if (!word)
        abort();
    word->next = *at;
    word->count = 1;
    strcpy(word->text, text);
    *at = word;
}

static void print_and_free(void)
{
    while (words) {
        struct word *word = words;
        words = word->next;
        printf("%lu %s\n", word->count, word->text);
        free(word);
    }
}

int main(int argc, char **argv)
{
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (!file) {
        perror("words");
        return 1;
    }
    char text[64];
    while (fscanf(file, "%63s", text) == 1)
        add_word(text);
    fclose(file);
    print_and_free();
    return 0;
}

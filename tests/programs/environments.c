/* environments WORKER: starts programs again and again from a program that changes its environment
 * meanwhile. What it says is the same with and without sntrace. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "say.h"

extern char **environ;
static const char *worker;
static int started[2], go_on[2], nowhere;

/* A shell that says when it runs and then waits. */
static void *call_system(void *unused)
{
    char command[100];
    snprintf(command, sizeof command, "echo >&%d; read line <&%d; exit 3", started[1], go_on[0]);
    say("system=%d\n", WEXITSTATUS(system(command)));
    return unused;
}

static pthread_t begin(void)
{
    pthread_t thread;
    char byte;
    if (pthread_create(&thread, NULL, call_system, NULL) || read(started[0], &byte, 1) != 1)
        exit(2);
    return thread;
}

static void end(pthread_t thread)
{
    void *result;
    if (write(go_on[1], "\n", 1) != 1 || pthread_join(thread, &result))
        exit(3);
    say("cancelled=%d\n", result == PTHREAD_CANCELED);
}

static void say_variables(void)
{
    say("first=%s second=%s\n", getenv("FIRST") ? getenv("FIRST") : "-", getenv("SECOND") ? getenv("SECOND") : "-");
}

/* How many mappings there are. */
static int mappings(void)
{
    int count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    for (int byte; (byte = getc(file)) != EOF;)
        count += byte == '\n';
    fclose(file);
    return count;
}

static void start_once(int way, char **environment)
{
    char *arguments[] = {"worker", NULL};
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (way == 0) {
        pclose(popen("", "r"));
        return;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, nowhere, 1);
    if (way == 1) {
        if (posix_spawn(&pid, worker, &actions, NULL, arguments, environment))
            exit(4);
    } else if ((pid = vfork()) == 0) {
        dup2(nowhere, 1);
        execve(worker, arguments, environment);
        _exit(5);
    }
    posix_spawn_file_actions_destroy(&actions);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    static char texts[1000][16], *many[1001], *few[] = {"ONE=1", NULL};
    worker = argv[argc - 1];
    for (int i = 0; i < 1000; i++) {
        snprintf(texts[i], sizeof texts[i], "V%d=%d", i, i);
        many[i] = texts[i];
    }
    if ((nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0 || pipe(started) || pipe(go_on))
        return 1;

    /* A call leaves the environment as it was. */
    clearenv();
    putenv("FIRST=1");
    char **own = environ;
    end(begin());
    say("same=%d\n", environ == own);
    say_variables();

    /* What another thread changes during a call stays changed. */
    pthread_t thread = begin();
    setenv("SECOND", "2", 1);
    end(thread);
    say_variables();
    thread = begin();
    unsetenv("FIRST");
    end(thread);
    say_variables();
    thread = begin();
    clearenv();
    end(thread);
    say_variables();
    say("null=%d\n", environ == NULL);

    /* Two calls at a time, that end in the order in which they began. */
    thread = begin();
    pthread_t other = begin();
    say("none\n");
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    end(other);
    say_variables();

    /* However often: it takes no more memory. */
    clearenv();
    for (int way = 0; way < 4; way++) {
        char **environment = way == 1 ? many : few;
        start_once(way, environment);
        start_once(way, environment);
        int before = mappings();
        for (int i = 0; i < 50; i++)
            start_once(way, environment);
        say("way=%d grown=%d\n", way, mappings() - before);
    }
    return 0;
}

/* processes WAY [WORKER [cleared|own]]: starts another process in one of many ways; each that is
 * started says who it is and takes a block. WORKER is the program to exec
 * (tests/programs/worker.c). `cleared`: without any environment; `own`: with one of the program's
 * own making. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "say.h"

extern char **environ;
static char *worker;
static int cleared;

__attribute__((noinline)) static void before(void) { free(malloc(501)); }
__attribute__((noinline)) static void after(void) { free(malloc(502)); }

__attribute__((noinline)) static void in_child(void)
{
    void *block = malloc(777);
    say("child=%d block=%p\n", getpid(), block);
    free(block);
}

static int wait_for(pid_t pid)
{
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        exit(90);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void close_everything(int way)
{
    /* Stdout moves out of the way first: the program still has to say something. */
    (void)!dup2(1, 900);
    if (way == 0)
        closefrom(901);
    else
        syscall(SYS_close_range, 901u, ~0u, 0u);
    for (int fd = 0; fd < 900; fd++)
        close(fd);
    dup2(900, 1);
    close(900);
}

/* What the program's own environment is, which nothing that it calls may change. */
static void say_own(void)
{
    say("own=%d", environ != NULL);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, "LD_PRELOAD=/", 12) && strncmp(*entry, "SNTRACE_RUN=", 12))
            say(",%s", *entry);
        else if (cleared)
            say(",not cleared");
    say("\n");
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";
    worker = argc > 2 ? argv[2] : "/bin/true";
    char *arguments[] = {worker, "worked", NULL}, *nothing[] = {NULL};
    static char *few[] = {"FIRST=1", "LD_PRELOAD=libm.so.6", "LAST=2", NULL};
    pid_t pid = -1;
    int status = 0;
    say("parent=%d\n", getpid());
    before();
    if (argc > 3) {
        cleared = 1;
        clearenv();
        if (!strcmp(argv[3], "own"))
            environ = few;
    }

    if (!strcmp(way, "fork")) {
        if ((pid = fork()) == 0) {
            in_child();
            _exit(7);
        }
        status = wait_for(pid);
    } else if (!strcmp(way, "fork-of-fork")) {
        if ((pid = fork()) == 0) {
            in_child();
            pid = fork();
            in_child();
            if (pid > 0)
                wait_for(pid);
            _exit(7);
        }
        status = wait_for(pid);
    } else if (!strcmp(way, "raw-clone")) {
        /* Without libc's knowledge: no atfork handler runs. */
        if ((pid = (pid_t)syscall(SYS_clone, 17 /* SIGCHLD */, 0, 0, 0, 0)) == 0) {
            in_child();
            _exit(7);
        }
        status = wait_for(pid);
    } else if (!strcmp(way, "vfork")) {
        if ((pid = vfork()) == 0) {
            execv(worker, arguments);
            _exit(89);
        }
        status = wait_for(pid);
    } else if (!strcmp(way, "posix_spawn")) {
        if (posix_spawn(&pid, worker, NULL, NULL, arguments, environ))
            return 88;
        status = wait_for(pid);
    } else if (!strcmp(way, "posix_spawnp")) {
        if (posix_spawnp(&pid, worker, NULL, NULL, arguments, environ))
            return 88;
        status = wait_for(pid);
    } else if (!strcmp(way, "posix_spawnp-no-environment")) {
        if (posix_spawnp(&pid, worker, NULL, NULL, arguments, nothing))
            return 88;
        status = wait_for(pid);
    } else if (!strcmp(way, "system")) {
        char command[4096];
        snprintf(command, sizeof command, "'%s' worked", worker);
        status = system(command);
        status = WEXITSTATUS(status);
    } else if (!strcmp(way, "popen")) {
        char command[4096], text[4096];
        snprintf(command, sizeof command, "'%s' worked", worker);
        FILE *stream = popen(command, "r");
        while (fgets(text, sizeof text, stream))
            say("%s", text);
        status = WEXITSTATUS(pclose(stream));
    } else if (!strncmp(way, "exec", 4) || !strncmp(way, "fexec", 5)) {
        if (!strcmp(way, "execv"))
            execv(worker, arguments);
        else if (!strcmp(way, "execve"))
            execve(worker, arguments, environ);
        else if (!strcmp(way, "execve-no-environment"))
            execve(worker, arguments, nothing);
        else if (!strcmp(way, "exec-raw"))
            syscall(SYS_execve, worker, arguments, environ); /* past libc: its environment is the only help */
        else if (!strcmp(way, "execvp"))
            execvp(worker, arguments);
        else if (!strcmp(way, "execvpe"))
            execvpe(worker, arguments, environ);
        else if (!strcmp(way, "execl"))
            execl(worker, worker, "worked", NULL);
        else if (!strcmp(way, "execle"))
            execle(worker, worker, "worked", NULL, nothing);
        else if (!strcmp(way, "execle-few"))
            execle(worker, worker, "worked", NULL, few);
        else if (!strcmp(way, "execlp"))
            execlp(worker, worker, "worked", NULL);
        /* As many as fit into registers, one less and more, and far more. */
        else if (!strcmp(way, "execl-3"))
            execl(worker, worker, "1", "2", "3", NULL);
        else if (!strcmp(way, "execl-4"))
            execl(worker, worker, "1", "2", "3", "4", NULL);
        else if (!strcmp(way, "execl-6"))
            execl(worker, worker, "1", "2", "3", "4", "5", "6", NULL);
        else if (!strcmp(way, "execle-5"))
            execle(worker, worker, "1", "2", "3", "4", "5", NULL, few);
        else if (!strcmp(way, "execlp-20"))
            execlp(worker, worker, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
                   "16", "17", "18", "19", "20", NULL);
        else if (!strcmp(way, "fexecve"))
            fexecve(open(worker, O_RDONLY | O_CLOEXEC), arguments, environ);
        else if (!strcmp(way, "execveat"))
            execveat(AT_FDCWD, worker, arguments, environ, 0);
        else if (!strcmp(way, "exec-that-fails")) {
            execv("/nonexistent/program", arguments);
            in_child(); /* goes on as it was, and is still traced */
            return errno == ENOENT ? 7 : 86;
        } else if (!strcmp(way, "exec-too-long")) {
            /* A program that is there, and an argument longer than the kernel takes. */
            static char longest[1 << 20];
            memset(longest, 'x', sizeof longest - 1);
            arguments[1] = longest;
            execv(worker, arguments);
            int first = errno;
            if ((pid = vfork()) == 0) {
                execv(worker, arguments);
                _exit(7);
            }
            if (wait_for(pid) != 7 || posix_spawn(&pid, worker, NULL, NULL, arguments, environ) != E2BIG)
                return 83;
            in_child();
            return first == E2BIG ? 7 : 86;
        } else if (!strcmp(way, "execl-that-fails")) {
            /* The list goes over the stack; what it returns to must be as it was. */
            int result = execl("/nonexistent/program", "x", "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL);
            in_child();
            return result == -1 && errno == ENOENT ? 7 : 86;
        }
        return 87;
    } else if (!strcmp(way, "unsetenv")) {
        clearenv();
        execv(worker, arguments);
        return 87;
    } else if (!strcmp(way, "daemon")) {
        /* The classic: two forks, a session of its own, no descriptors but stdout. */
        int alive[2]; /* its end tells that the process between is gone */
        char nothing_comes;
        if (pipe(alive))
            return 84;
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                close(alive[1]);
                (void)!read(alive[0], &nothing_comes, 1);
                (void)!chdir("/");
                close(0);
                close(2);
                in_child();
                _exit(0);
            }
            _exit(0);
        }
        close(alive[1]);
    } else if (!strcmp(way, "closefrom") || !strcmp(way, "close_range")) {
        close_everything(!strcmp(way, "close_range"));
        in_child();
        if ((pid = fork()) == 0) {
            in_child();
            _exit(7);
        }
        status = wait_for(pid);
    } else if (!strcmp(way, "setsid")) {
        if ((pid = fork()) == 0) {
            setsid();
            execv(worker, arguments);
        }
        status = wait_for(pid);
    } else {
        return 85;
    }
    if (cleared)
        say_own();
    after();
    return status;
}

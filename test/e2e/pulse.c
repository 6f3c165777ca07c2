/*
 * pulse - how late this machine lets a process run: for limits of time in tests.
 *
 *   pulse FILE
 *
 * It sleeps 10 ms again and again; FILE holds the milliseconds by which all of these sleeps
 * together were longer than that.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_NS 10000000
#define SLACK_NS 1000000 /* what a machine with nothing to do may need to wake up */

static int64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    int fd = argc == 2 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    int64_t late = 0, told = -1;

    if (fd < 0) {
        fprintf(stderr, "usage: pulse FILE\n");
        return 3;
    }
    for (;;) {
        struct timespec pause = {.tv_nsec = SLEEP_NS};
        int64_t began = clock_ns(), over;
        char text[24];

        if (late / 1000000 != told) {
            told = late / 1000000;
            if (pwrite(fd, text, (size_t)snprintf(text, sizeof(text), "%lld\n", (long long)told), 0) < 0)
                return 3;
        }
        nanosleep(&pause, NULL);
        over = clock_ns() - began - SLEEP_NS;
        late += over > SLACK_NS ? over : 0;
    }
}

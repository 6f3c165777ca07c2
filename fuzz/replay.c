/*
 * replay - run a fuzz target over stored inputs, without libFuzzer.
 *
 * Usage: TARGET FILE_OR_FOLDER...   Each regular file is one input, given to the target in an
 * allocation of exactly its size, so that the address sanitizer sees a read past its end. Exit
 * status 1 if anything cannot be read or there was no input at all.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

#pragma weak LLVMFuzzerInitialize

static unsigned count;

static int fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return 1;
}

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(path);
    uint8_t *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, f) != size) {
        free(data);
        fclose(f);
        return fail(path);
    }
    fclose(f);
    /* An empty input still is a valid pointer, as libFuzzer gives it. */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    count++;
    return 0;
}

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return fail(path);
    if (S_ISREG(st.st_mode)) {
        /* Names the input if the target does not come back. */
        printf("%s\n", path);
        fflush(stdout);
        return replay_file(path, (size_t)st.st_size);
    }
    if (!S_ISDIR(st.st_mode))
        return 0;
    DIR *dir = opendir(path);
    if (!dir)
        return fail(path);
    int err = 0;
    struct dirent *e;
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        char *child;
        if (asprintf(&child, "%s/%s", path, e->d_name) < 0) {
            err = fail(path);
            break;
        }
        err |= replay(child);
        free(child);
    }
    closedir(dir);
    return err;
}

int main(int argc, char **argv)
{
    int err = 0;
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        err |= replay(argv[i]);
    printf("%u inputs\n", count);
    return err || !count;
}

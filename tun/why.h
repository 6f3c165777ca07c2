/*
 * why - how the TUN layer tells that something failed: a code and a sentence.
 *
 * Functions here return 0 or a negative errno and take `char *why, size_t why_size`, which
 * on failure receives one sentence for the user: what is wrong, and what to do about it. On
 * success it is left alone. `why` may be NULL with size 0.
 */
#ifndef TUN_WHY_H
#define TUN_WHY_H

#include "quic/types.h"

#define WHY_SIZE 256 /* what callers usually give */

/* Write the sentence, return `code` (a negative errno). */
int why_set(char *why, size_t why_size, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif

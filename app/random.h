/*
 * random - the operating system's random bytes, for the layers below.
 */
#ifndef APP_RANDOM_H
#define APP_RANDOM_H

#include "quic/types.h"

/* A source that never fails; buffered, so that small draws cost no system call each. */
struct rng random_system(void);

#endif

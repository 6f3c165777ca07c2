#include "tun/why.h"

#include <stdarg.h>
#include <stdio.h>

int why_set(char *why, size_t why_size, int code, const char *fmt, ...)
{
    va_list ap;

    if (!why || why_size == 0)
        return code;
    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return code;
}

#include "h3/error.h"

const char *h3_error_name(uint64_t code)
{
    switch (code) {
#define H3_ERROR_NAME(name, value)                                                             \
    case value:                                                                                \
        return #name;
        H3_ERRORS(H3_ERROR_NAME)
#undef H3_ERROR_NAME
    default:
        return code >= 0x21 && (code - 0x21) % 0x1f == 0 ? "reserved" : "unknown";
    }
}

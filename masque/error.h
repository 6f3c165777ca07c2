/*
 * error - the HTTP/3 error codes that this layer returns (RFC 9114 8.1, RFC 9297 5.2).
 *
 * They are the positive results of functions here; the caller aborts the request
 * stream, or where a function says so the connection, with them.
 */
#ifndef MASQUE_ERROR_H
#define MASQUE_ERROR_H

enum masque_error {
    MASQUE_H3_DATAGRAM_ERROR = 0x33,
    MASQUE_H3_EXCESSIVE_LOAD = 0x0107,
    MASQUE_H3_MESSAGE_ERROR = 0x010e
};

#endif

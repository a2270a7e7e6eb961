/*
 * authres - writes what the checks have found into the message: the Authentication-Results field (RFC
 * 8601), and one more for what that knows no word for.
 */
#ifndef FILTERS_AUTHRES_H
#define FILTERS_AUTHRES_H

#include "filters/filter.h"

enum { AUTHRES_SIZE = 4096 }; /* octets of a field, with its NUL */

/*
 * The field with all findings that are there, folded at 78 columns where words allow it, its CRLF and a
 * NUL behind it. The length. Peers' octets stand in it only as visible ASCII, quoted where the grammar
 * wants it. Signatures that do not fit are left out, good ones last; SPF and DMARC always fit.
 */
uint32_t authres_write(const struct facts *facts, char out[AUTHRES_SIZE]);

/* The same for what the lists say of the client's address and of the domains that it names, each with its
 * zones behind it: "NAME: id; dnsbl=...; zone=...; rhsbl=...; zone=...". Zones that do not fit are left
 * out. 0 when there is nothing to tell. */
uint32_t authres_write_trace(const struct facts *facts, const char *name, char out[AUTHRES_SIZE]);

#endif

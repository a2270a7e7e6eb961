/*
 * authres_claims - tells whether an Authentication-Results field that came with a message speaks in our
 * name (RFC 8601, 5): it is forged then, and to be taken out.
 */
#ifndef FILTERS_AUTHRES_CLAIMS_H
#define FILTERS_AUTHRES_CLAIMS_H

#include "filters/header.h"

/*
 * True when the field's name and authserv-id are Authentication-Results and `id`, however they are
 * spelled: case, white space, comments, folding, quoting, a version, a dot at the end and either form
 * of an international name make no difference. True as well where nobody is named, or an open comment
 * or string hides who: lenient readers may take that for anybody. ARC-Authentication-Results and other
 * names never are. Linear, in what stands in front of the results alone.
 */
bool authres_claims(const struct header *header, const struct header_field *field, const char *id);

#endif

/*
 * idn - a domain as text into the form that DNS knows: lower case, labels beyond ASCII as "xn--..."
 * (RFC 3492, RFC 5890). Pure.
 *
 * Done before: case of the Latin, Greek and Cyrillic letters, fullwidth forms of ASCII, the other full
 * stops. Not done: composition. A name with combining marks of these scripts, or with what is not
 * UTF-8, has no such form here, rather than a wrong one.
 */
#ifndef FILTERS_IDN_H
#define FILTERS_IDN_H

#include <stdbool.h>
#include <stdint.h>

enum { IDN_NAME_MAX = 256 }; /* with its NUL */

/* The length; -EINVAL for what has no such form, a label over 63 octets or a name over 255. One dot at
 * the end is dropped. ASCII labels are not judged. */
int idn_to_ascii(const char *text, uint32_t len, char out[IDN_NAME_MAX]);

/* True when that form is `ascii`, which is in lower case. Ends at the first label that differs, and costs
 * no more than that one. */
bool idn_is(const char *text, uint32_t len, const char *ascii);

#endif

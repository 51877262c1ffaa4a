/*
 * errors.h - the exception kinds of the language, as codes of the library
 */
#ifndef SCENARIO_ERRORS_H
#define SCENARIO_ERRORS_H

#include "value.h"

typedef struct error_kind error_kind;

const error_kind *error_kind_find(const char *name, size_t n); /* NULL if there is none of that name */
bool error_kind_constructible(const error_kind *kind);

/* KIND() or KIND(message); NULL for none. */
value *error_make(const error_kind *kind, const char *message);

const char *error_kind_name(const coil_error *error);
bool error_is(const coil_error *error, const error_kind *kind);
value *error_suberrors(const coil_error *error);

/* Raises the error object that a value holds: every time the same one. */
int error_raise(const value *error);

#endif

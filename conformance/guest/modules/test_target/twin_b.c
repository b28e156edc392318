// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* One of two static functions of the same name in one module. */
#include "target.h"

static TEST_FUNC int test_twin(void)
{
	return 20;
}

int test_twin_b(void)
{
	return test_twin();
}

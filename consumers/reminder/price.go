package reminder

import (
	"fmt"

	"golang.org/x/text/currency"
)

// price is an amount in minor units as people write it: EUR 12.99, JPY 1299, BHD 1.299. A currency that ISO 4217 doesn't
// know has two decimals.
func price(amount int64, code string) string {
	decimals := 2
	if unit, err := currency.ParseISO(code); err == nil {
		decimals, _ = currency.Standard.Rounding(unit)
	}
	unit := int64(1)
	for range decimals {
		unit *= 10
	}
	if unit == 1 {
		return fmt.Sprintf("%s %d", code, amount)
	}
	return fmt.Sprintf("%s %d.%0*d", code, amount/unit, decimals, amount%unit)
}

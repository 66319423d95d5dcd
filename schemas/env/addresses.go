package env

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// addresses are those that a comma-separated setting holds: blanks around one and empty ones don't count.
func addresses(list []string) []string {
	var found []string
	for _, a := range list {
		if a = strings.TrimSpace(a); a != "" {
			found = append(found, a)
		}
	}
	return found
}

// checkAddress returns a fault of the named setting where the address is not host:port.
func checkAddress(name, address string) error {
	host, port, err := net.SplitHostPort(address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
		return fmt.Errorf("%s holds %q: host:port", name, address)
	}
	return nil
}

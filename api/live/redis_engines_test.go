//go:build engines

package live

import (
	"testing"

	"cartstream/deploy/enginetest"
)

func TestDevicesOnTwoInstancesShowWhatAClusterHolds(t *testing.T) {
	testInstances(t, enginetest.RedisCluster(t)...)
}

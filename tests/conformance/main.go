// Runs the S3 tests of versitygw against any endpoint, and prints a line for each: name, tab, what came of it.
//
//	suite ENDPOINT REGION ACCESS_KEY SECRET_KEY [NAME...]
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for linkname

	"github.com/versity/versitygw/tests/integration"
)

// Buckets are numbered from here; one that a test left behind must not stand in the way of another run.
//
//go:linkname bucketCount github.com/versity/versitygw/tests/integration.bcktCount
var bucketCount atomic.Uint64

// Interfaces of that server for users and web pages, and what needs a user made by them.
var notS3 = regexp.MustCompile("^(IAM|S3IAM|WebsiteHosting|AccessControl|NoAclMode)")

// What lists every bucket, or takes all of the machine, runs by itself.
var alone = regexp.MustCompile("^(ListBuckets|Server)|_racey|_race_|concurrent")

const (
	atOnce    = 4
	longest   = 30 * time.Second
	bucketMax = 1 << 40
)

func main() {
	endpoint, region, access, secret, names := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	conf := integration.NewS3Conf(integration.WithEndpoint(endpoint), integration.WithRegion(region),
		integration.WithAccess(access), integration.WithSecret(secret), integration.WithVersioningEnabled())
	bucketCount.Store(rand.Uint64N(bucketMax))
	tests := integration.GetIntTests()
	if len(names) == 0 {
		for name := range tests {
			if !notS3.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)

	out := os.Stdout
	os.Stdout, _ = os.Open(os.DevNull) // where the suite talks to people
	var together, oneByOne []string
	for _, name := range names {
		if alone.MatchString(name) {
			oneByOne = append(oneByOne, name)
		} else {
			together = append(together, name)
		}
	}
	for _, round := range []struct {
		names  []string
		atOnce int
	}{{together, atOnce}, {oneByOne, 1}} {
		queue := make(chan string)
		var workers sync.WaitGroup
		for range round.atOnce {
			workers.Go(func() {
				for name := range queue {
					fmt.Fprintf(out, "%s\t%s\n", name, result(tests[name], conf))
				}
			})
		}
		for _, name := range round.names {
			queue <- name
		}
		close(queue)
		workers.Wait()
	}
}

// How a test ended, in one line. Some crash where a store's answer is not what they expect.
func result(test integration.IntTest, conf *integration.S3Conf) string {
	done := make(chan string, 1)
	go func() {
		defer func() {
			if crash := recover(); crash != nil {
				done <- fmt.Sprint("crashed: ", crash)
			}
		}()
		if err := test(conf); err != nil {
			done <- "failed: " + strings.Join(strings.Fields(err.Error()), " ")
		} else {
			done <- "passed"
		}
	}()
	select {
	case said := <-done:
		return said
	case <-time.After(longest):
		return "no end"
	}
}

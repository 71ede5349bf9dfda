# SPDX-License-Identifier: Apache-2.0
# Hashes, sorting, regular expressions, closures, fork and pipes.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Storable qw(freeze thaw dclone);

my %count;
for my $i (1 .. 120000) {
    push @{ $count{ "key" . ($i * 7919 % 5003) } }, $i;
}
my @sorted = sort { @{ $count{$b} } <=> @{ $count{$a} } || $a cmp $b } keys %count;
print scalar(@sorted), " $sorted[0] ", sha256_hex(join ",", map { "$_=@{$count{$_}}" } @sorted), "\n";

my $text = join " ", map { "word$_ " . "x" x ($_ % 50) } 1 .. 20000;
my $changed = () = $text =~ s/word(\d*7)\b/<$1>/g;
my @found = $text =~ /<(\d+)>/g;
print scalar(@found), " ", sha256_hex($text), "\n";

my $copy = thaw(freeze(dclone(\%count)));
delete @{$copy}{ (sort keys %$copy)[0 .. 2000] };
print scalar(keys %$copy), "\n";

my @adders = map { my $n = $_; sub { $n += $_[0] } } 1 .. 20000;
my $sum = 0;
$sum += $_->(2) for @adders;
print "$sum\n";

for my $child (1 .. 4) {
    my $pid = open(my $pipe, "-|") // die "fork: $!";
    if (!$pid) {
        my @list = map { "$child-$_" } 1 .. 5000;
        print sha256_hex("@list"), "\n";
        exit 0;
    }
    print while <$pipe>;
    close $pipe or die "child $child: $?";
}

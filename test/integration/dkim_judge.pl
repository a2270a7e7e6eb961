#!/usr/bin/perl
# Mail::DKIM as a signer and as a judge for test_dkim_differential.py: one process, a line for a line.
#
#   record NAME TEXT                                 "ok"; a key record, TEXT in base64
#   sign METHOD DOMAIN SELECTOR KEYFILE HOW MAIL     the DKIM-Signature field in base64, its CRLF with it
#   verify MAIL                                      "SELECTOR=RESULT ..." for each signature, or "-"
#
# MAIL is base64 and has CRLF line ends. HOW names fields to sign, as "from=+,received=*" (Mail::DKIM's
# extended headers: "*" all there are, "+" one more). SELECTOR is hexadecimal where it is printed. Nobody
# is asked but the records.
use strict;
use warnings;

package Weir::Record;
sub new { my ($class, $text) = @_; return bless {text => $text}, $class }
sub type { return 'TXT' }
sub txtdata { my ($self) = @_; return unpack('(a255)*', $self->{text}) }

package Weir::Answer;
sub new { my ($class, @records) = @_; return bless {records => \@records}, $class }
sub header { return $_[0] }
sub rcode { my ($self) = @_; return @{ $self->{records} } ? 'NOERROR' : 'NXDOMAIN' }
sub answer { my ($self) = @_; return @{ $self->{records} } }

package Weir::Resolver;
sub new { return bless {texts => {}}, $_[0] }
sub errorstring { return 'NXDOMAIN' }
sub send {
    my ($self, $name) = @_;
    my $text = $self->{texts}{ lc $name };
    return Weir::Answer->new(defined $text ? Weir::Record->new($text) : ());
}

package main;
use MIME::Base64;
use Mail::DKIM::DNS;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::Signer;
use Mail::DKIM::Verifier;

my $resolver = Weir::Resolver->new;
my %keys;

sub sign {
    my ($method, $domain, $selector, $file, $how, $mail) = @_;
    $keys{$file} ||= Mail::DKIM::PrivateKey->load(File => $file);
    my $signer = Mail::DKIM::Signer->new(
        Algorithm => 'rsa-sha256',
        Method    => $method,
        Domain    => $domain,
        Selector  => $selector,
        Key       => $keys{$file},
    );
    $signer->extended_headers({map { split /=/ } split /,/, $how});
    $signer->PRINT(decode_base64($mail));
    $signer->CLOSE;
    return encode_base64($signer->signature->as_string . "\r\n", '');
}

sub verify {
    my ($mail) = @_;
    local $SIG{__WARN__} = sub { };    # of tags that are missing
    my $verifier = Mail::DKIM::Verifier->new;
    my $is_done = eval { $verifier->PRINT(decode_base64($mail)); $verifier->CLOSE; 1 };
    return '-' unless $is_done;
    my @results = map { unpack('H*', $_->selector // '') . '=' . ($_->result // 'none') } $verifier->signatures;
    return @results ? "@results" : '-';
}

Mail::DKIM::DNS::resolver($resolver);
binmode STDIN;
$| = 1;
while (my $line = <STDIN>) {
    chomp $line;
    my ($command, @words) = split / /, $line;
    if ($command eq 'record') {
        $resolver->{texts}{ lc $words[0] } = decode_base64($words[1]);
        print "ok\n";
    } elsif ($command eq 'sign') {
        print sign(@words), "\n";
    } else {
        print verify(@words), "\n";
    }
}

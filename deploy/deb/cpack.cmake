# What CPack makes of the tree that build.sh laid out: one package with all programs, the units and an example configuration.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME weft)
set(CPACK_PACKAGE_VERSION "$ENV{WEFT_DEB_VERSION}")
set(CPACK_PACKAGE_VENDOR Weft)
set(CPACK_PACKAGE_CONTACT "The Weft authors <weft@example.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "gRPC service mesh that serves code models")
set(CPACK_PACKAGE_DESCRIPTION "Gateway, scheduler, worker, scanner and collector with their units for systemd, and weftctl.")
set(CPACK_INSTALLED_DIRECTORIES "$ENV{WEFT_DEB_ROOT};/")
set(CPACK_PACKAGING_INSTALL_PREFIX "/")
set(CPACK_PACKAGE_DIRECTORY "$ENV{WEFT_DEB_OUT}")
set(CPACK_PACKAGE_FILE_NAME weft)  # CPack asks for it; the next line decides
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "$ENV{WEFT_DEB_CONTROL}/conffiles;$ENV{WEFT_DEB_CONTROL}/postinst;$ENV{WEFT_DEB_CONTROL}/prerm;$ENV{WEFT_DEB_CONTROL}/postrm")
